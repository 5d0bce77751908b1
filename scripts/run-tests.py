"""Runs the test programs of the workspace side by side, which `cargo test` runs one after another though most of them wait.

    cargo test ... --no-run --message-format=json | python3 scripts/run-tests.py

Each program runs in its package's folder, as cargo runs it, and what it printed is shown when it has ended. The longest come
first, so that none is left over at the end. Exits with 1 when one of them failed, after all have run.
"""
import json
import os
import subprocess
import sys
import threading
import time

LANES = 4
# One that takes longer hangs.
SECONDS_MAX = 1500
# The programs that take long, longest first; the others follow.
LONG = ["windlass-e2e/it", "windlass-webui/it", "windlass/it", "windlass-executor/it", "windlass-daemon/it", "windlass-store/it"]


def programs(messages):
    """Name, folder and path of each test program that cargo tells of; its other messages are shown."""
    for line in messages:
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("reason") == "compiler-message":
            print(message["message"]["rendered"], end="", flush=True)
        elif message.get("executable") and message["profile"]["test"]:
            folder = os.path.dirname(message["manifest_path"])
            package = message["package_id"].split("#")[-1].split("@")[0]
            target = message["target"]
            name = "unit" if target["kind"][0] in ("lib", "bin") else target["name"]
            yield f"{package}/{name}", folder, message["executable"]
        elif message.get("reason") == "build-finished" and not message["success"]:
            sys.exit("==> the build failed")


def run(program):
    """Whether a program's tests passed, with its output and its seconds."""
    _, folder, path = program
    began = time.monotonic()
    try:
        environment = os.environ | {"CARGO_MANIFEST_DIR": folder}
        ended = subprocess.run([path], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, timeout=SECONDS_MAX, check=False)
        passed, output = ended.returncode == 0, ended.stdout
    except subprocess.TimeoutExpired as late:
        passed, output = False, (late.stdout or b"") + b"\nended: it hangs\n"
    return passed, output.decode(errors="replace"), time.monotonic() - began


def main():
    waiting = sorted(programs(sys.stdin), key=lambda it: LONG.index(it[0]) if it[0] in LONG else len(LONG))
    failed, lock = [], threading.Lock()

    def work():
        while True:
            with lock:
                if not waiting:
                    return
                program = waiting.pop(0)
            passed, output, seconds = run(program)
            with lock:
                verdict = "passed" if passed else "FAILED"
                print(f"==> {program[0]} {verdict} in {seconds:.0f} s\n{output}", flush=True)
                if not passed:
                    failed.append(program[0])

    workers = [threading.Thread(target=work) for _ in range(LANES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed:
        sys.exit(f"==> failed: {', '.join(failed)}")


main()
