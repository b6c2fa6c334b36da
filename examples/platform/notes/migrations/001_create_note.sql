-- migrate:up
create table note (
  id uuid primary key default gen_random_uuid(),
  subject text not null,
  text text not null,
  created_at timestamptz not null default now()
);
create index note_by_subject on note (subject, created_at desc);

-- migrate:down
drop table note;
