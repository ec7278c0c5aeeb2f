-- A store as version 1 of the schema made it, with one frame in it. Never changed: it stands for the files in labs.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE models (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, sha256 TEXT NOT NULL,
    UNIQUE (name, version, sha256));
CREATE TABLE frames (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sha256 TEXT NOT NULL UNIQUE, source TEXT NOT NULL, name TEXT NOT NULL,
    format TEXT NOT NULL, channel TEXT NOT NULL, trace TEXT, direction TEXT NOT NULL, unit TEXT NOT NULL,
    rows INTEGER NOT NULL, columns INTEGER NOT NULL, complete_rows INTEGER NOT NULL, partial INTEGER NOT NULL,
    size_x_nm REAL NOT NULL, size_y_nm REAL NOT NULL, center_x_nm REAL NOT NULL, center_y_nm REAL NOT NULL,
    angle_deg REAL NOT NULL, bias_v REAL, setpoint REAL, setpoint_unit TEXT NOT NULL, started TEXT, ended TEXT,
    instrument TEXT NOT NULL, comment TEXT NOT NULL, warnings TEXT NOT NULL,
    superseded_by INTEGER REFERENCES frames (id));
CREATE INDEX frames_shown ON frames (id) WHERE superseded_by IS NULL;
CREATE INDEX frames_superseded ON frames (superseded_by) WHERE superseded_by IS NOT NULL;
CREATE INDEX frames_partial ON frames (source) WHERE partial = 1 AND superseded_by IS NULL;
CREATE TABLE maps (
    frame_id INTEGER PRIMARY KEY REFERENCES frames (id) ON DELETE CASCADE,
    model_id INTEGER NOT NULL REFERENCES models (id), processed TEXT NOT NULL, scanned_area_nm2 REAL, coverage REAL,
    total INTEGER NOT NULL, timings_ms TEXT NOT NULL);
CREATE TABLE counts (
    frame_id INTEGER NOT NULL REFERENCES frames (id) ON DELETE CASCADE, label TEXT NOT NULL, total INTEGER NOT NULL,
    edge INTEGER NOT NULL, density_per_nm2 REAL, coverage REAL, PRIMARY KEY (frame_id, label)) WITHOUT ROWID;
CREATE TABLE molecules (
    id INTEGER PRIMARY KEY, frame_id INTEGER NOT NULL REFERENCES frames (id) ON DELETE CASCADE, label TEXT NOT NULL,
    score REAL, center_x_nm REAL, center_y_nm REAL, area_nm2 REAL, length_nm REAL, width_nm REAL,
    orientation_deg REAL, box_x1_px REAL, box_y1_px REAL, box_x2_px REAL, box_y2_px REAL,
    touches_edge INTEGER NOT NULL, spectra TEXT, outline_px BLOB NOT NULL);
CREATE INDEX molecules_of_frame ON molecules (frame_id);
CREATE TABLE previews (
    frame_id INTEGER PRIMARY KEY REFERENCES frames (id) ON DELETE CASCADE, thumbnail_png BLOB NOT NULL,
    preview_png BLOB NOT NULL);
CREATE TABLE faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, sha256 TEXT NOT NULL, stage TEXT NOT NULL,
    reason TEXT NOT NULL, occurred TEXT NOT NULL, detail TEXT NOT NULL);
CREATE TABLE files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL,
    outcome TEXT NOT NULL, seen TEXT NOT NULL);
CREATE INDEX files_by_content ON files (sha256);
CREATE TABLE tries (sha256 TEXT PRIMARY KEY, source TEXT NOT NULL, count INTEGER NOT NULL, begun TEXT NOT NULL);
INSERT INTO meta VALUES ('schema 1 by', 'spm-live 0.1.0');
INSERT INTO models VALUES (1, 'synthetic-small', '1.0', 'abab');
INSERT INTO frames VALUES (
    1, 'cdcd', '/data/old.sxm', 'old.sxm', 'nanonis-sxm', 'Z (m)', 'forward', 'up', 'm', 64, 128, 64, 0,
    10.0, 5.0, 100.0, -50.0, 15.0, -1.5, 5e-11, 'A', '2026-01-01T00:00:00.000000Z', NULL, 'STM 1', '', '[]', NULL);
INSERT INTO maps VALUES (1, 1, '2026-01-01T00:05:00.000000Z', 50.0, 0.05, 1, '{"read":1.5}');
INSERT INTO counts VALUES (1, 'rod', 1, 0, 0.02, 0.05);
INSERT INTO molecules VALUES (
    1, 1, 'rod', 0.9, 100.5, -50.5, 1.25, 2.0, 0.5, 30.0, 10.0, 20.0, 15.5, 27.25, 0, NULL,
    X'00002041000080410000404100008041');
INSERT INTO previews VALUES (1, X'01', X'02');
INSERT INTO files VALUES ('/data/old.sxm', 10, 20, 'cdcd', 'frame', '2026-01-01T00:05:00.000000Z');
PRAGMA application_id = 1397771596;
PRAGMA user_version = 1;
