-- migrate:up transaction:false
create index concurrently transfers_by_time on transfers (done_at, id);

-- migrate:down transaction:false
drop index concurrently transfers_by_time;
