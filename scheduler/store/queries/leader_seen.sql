-- Waits for nobody: it is read before the old leader's backend is ended.
SELECT epoch, format, backend_pid, backend_start FROM leader
