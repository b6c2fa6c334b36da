-- migrate:up
create index transfers_by_time on transfers (done_at, id);

-- migrate:down
drop index transfers_by_time;
