"""A `cypher-shell` for the simulated cluster, as far as printed plans and docs/playground.md use one.

Statements come as arguments, or from stdin, separated by semicolons. Options: `-d` (a database) and `--param`
(`'name => "text"'`). Rows are printed as by `cypher-shell --format plain`.
"""

import argparse
import json
import sys
from pathlib import Path

import neo4j
from neo4j.exceptions import Neo4jError

PROGRAM = "cypher-shell"


def main(uri: str, password_file: str, arguments: list[str]) -> int:
    """Run statements and print their rows. Return 1 after the first statement that is refused."""
    parser = argparse.ArgumentParser(PROGRAM, description="A stand-in for Neo4j's cypher-shell.")
    parser.add_argument("-d", dest="database", default="system", metavar="DATABASE")
    parser.add_argument("--param", action="append", default=[], metavar="'NAME => VALUE'")
    parser.add_argument("statements", nargs="*")
    given = parser.parse_args(arguments)
    text = " ".join(given.statements) or sys.stdin.read()
    named = [one.partition(" => ") for one in given.param]
    parameters = {name: value.strip("'\"") for name, _, value in named}
    auth = ("neo4j", Path(password_file).read_text(encoding="utf-8").strip())
    with neo4j.GraphDatabase.driver(uri, auth=auth) as driver:
        for statement in filter(str.strip, text.split(";")):
            query = neo4j.Query(statement)
            try:
                found = driver.execute_query(query, parameters, database_=given.database)
            except Neo4jError as error:
                sys.stderr.write(f"{json.dumps(error.message)}\n")
                return 1
            rows = [", ".join(json.dumps(value, default=str) for value in record.values()) for record in found.records]
            sys.stdout.writelines(f"{row}\n" for row in ([", ".join(found.keys), *rows] if found.keys else []))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
