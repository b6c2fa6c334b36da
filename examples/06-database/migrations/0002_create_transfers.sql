-- migrate:up
create table transfers (
  id uuid primary key,
  payer text not null references accounts (name),
  payee text not null references accounts (name),
  amount bigint not null check (amount > 0),
  done_at timestamptz not null default now()
);

-- migrate:down
drop table transfers;
