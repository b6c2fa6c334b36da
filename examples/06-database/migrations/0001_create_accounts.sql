-- migrate:up
create table accounts (
  name text primary key,
  balance bigint not null constraint balance_not_negative check (balance >= 0)
);

-- migrate:down
drop table accounts;
