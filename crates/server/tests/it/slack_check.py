"""Says what is wrong with messages by a JSON schema: `python slack_check.py SCHEMA`.

Takes messages as lines of JSON, and prints a line of JSON for each: a list of what is wrong with it.
"""

import json
import sys

from jsonschema import Draft202012Validator

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for line in sys.stdin:
    print(json.dumps([f"{error.json_path}: {error.message}"[:300] for error in validator.iter_errors(json.loads(line))]))
