#!/usr/bin/env bash
# Runs check_json.py with a Python that has jsonschema. Arguments: as for that.
set -euo pipefail
for python in python3 /usr/bin/python3; do
  if "$python" -c 'import jsonschema' 2>/dev/null; then
    exec "$python" "$(dirname "$0")/check_json.py" "$@"
  fi
done
echo "check_json: no Python with jsonschema; run: scripts/install-deps test" >&2
exit 1
