SELECT leader.epoch, leader.holder, leader.endpoint, lease.seq
FROM leader, leader_lease AS lease
