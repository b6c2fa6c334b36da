// Migrations as a small service has them: a table, an index and a column each.

export interface Step {
  readonly name: string;
  readonly statements: readonly string[];
}

export function migrationSteps(count: number): readonly Step[] {
  return Array.from({ length: count }, (_, at) => {
    const table = `notes_${at}`;
    return {
      name: `${String(at + 1).padStart(4, "0")}_${table}`,
      statements: [
        `create table ${table} (id bigint generated always as identity primary key, author text not null, text text not null)`,
        `create index ${table}_author on ${table} (author)`,
        `alter table ${table} add column written_at timestamptz not null default now()`,
      ],
    };
  });
}
