-- Times are seconds since 1970-01-01 UTC. Columns in JSON hold what is only ever read as a whole.
CREATE TABLE night (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  started INTEGER NOT NULL,
  commit_id TEXT,
  environment TEXT NOT NULL,  -- JSON
  verdict TEXT NOT NULL,      -- the gate's
  conclusion TEXT NOT NULL,   -- the night's, with comparison and budgets
  summary TEXT NOT NULL,
  controls INTEGER NOT NULL,
  build TEXT,
  folder TEXT NOT NULL,
  comparison TEXT,            -- JSON
  remarks TEXT NOT NULL       -- JSON
) STRICT;

CREATE TABLE target (
  night INTEGER NOT NULL REFERENCES night (id) ON DELETE CASCADE,
  run INTEGER NOT NULL,       -- its place in run.json: a repeated run has the same scenario and target
  scenario TEXT NOT NULL,
  target TEXT NOT NULL,
  verdict TEXT NOT NULL,
  restarts INTEGER NOT NULL,
  requests INTEGER NOT NULL,
  seconds REAL NOT NULL,
  server_rss_mb REAL NOT NULL,
  tree_rss_mb REAL NOT NULL,
  latency TEXT,               -- JSON
  PRIMARY KEY (night, run)
) STRICT;

CREATE TABLE signal (
  night INTEGER NOT NULL,
  run INTEGER NOT NULL,
  name TEXT NOT NULL,
  class TEXT NOT NULL,
  verdict TEXT NOT NULL,
  per_restart REAL,
  tolerance REAL NOT NULL,
  first INTEGER,
  last INTEGER,
  max INTEGER,
  PRIMARY KEY (night, run, name),
  FOREIGN KEY (night, run) REFERENCES target (night, run) ON DELETE CASCADE
) STRICT;

CREATE TABLE baseline (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  night INTEGER NOT NULL REFERENCES night (id),
  accepted INTEGER NOT NULL,
  accepted_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  build TEXT NOT NULL,
  commit_id TEXT,
  environment TEXT NOT NULL   -- JSON
) STRICT;
