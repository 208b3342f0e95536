// The least privileges that the backup agent's Bolt account needs. NOT RUN ON ENTERPRISE: no Enterprise server was at
// hand. Taken from the operations manual, 5.26 and 2026.x ("Database administration", "DBMS administration" privileges).
// Community has no roles: there the account is `neo4j`.
//
// Run on `system` as an administrator; set your own password instead of $password and put it into neo4j.password_file:
//   cypher-shell -d system -P "{password: '…'}" -f role.cypher
//
// The backup itself needs no account: port 6362 has no login. Protect it by a network policy or dbms.ssl.policy.backup.

CREATE ROLE backup_agent IF NOT EXISTS;

// SHOW DATABASES lists the databases that the role may access; without this, only `system`. ACCESS does not permit
// reading data.
GRANT ACCESS ON DATABASE * TO backup_agent;

// For a clear refusal of an alias ("ask for orders instead"). Without this: "no database shop is listed".
GRANT SHOW ALIAS ON DBMS TO backup_agent;

// For the backup address that each server advertises. Without this: the Bolt host with neo4j.backup_port.
GRANT SHOW SETTING server.backup.*, server.default_advertised_address ON DBMS TO backup_agent;

// For `backup-agent doctor --cluster`, which the agent itself does not need. Without this, the command cannot tell whether
// the next server may be restarted.
GRANT SHOW SERVERS ON DBMS TO backup_agent;

// dbms.components() returns the version. The role PUBLIC has this privilege unless it was revoked.
GRANT EXECUTE PROCEDURE dbms.components ON DBMS TO backup_agent;

CREATE USER backup_agent IF NOT EXISTS SET PASSWORD $password CHANGE NOT REQUIRED;
GRANT ROLE backup_agent TO backup_agent;
