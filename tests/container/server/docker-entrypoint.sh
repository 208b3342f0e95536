#!/bin/sh
# Neo4j's entrypoint, without Neo4j: it copies the settings, and the server "runs" as long as its pid file exists.
set -eu
cp /conf/* /var/lib/neo4j/conf/
[ -d /data/databases ] || cp -r /opt/stand-in/stores/. /data/
echo $$ >/var/lib/neo4j/run/neo4j.pid
trap 'exit 0' TERM
sleep infinity &
wait
