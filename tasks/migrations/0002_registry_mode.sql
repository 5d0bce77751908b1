-- Whether subjects may change. The mode of all subjects is the row of the empty subject; without one it is READWRITE.
CREATE TABLE registry_mode (
    subject text PRIMARY KEY,
    mode text NOT NULL
);
