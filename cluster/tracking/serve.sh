#!/bin/sh
# MLflow's server for many: runs and users in PostgreSQL, artifacts in an object store, behind
# passwords, on loopback. All settings are environment variables, so that no secret is an argument:
#
#   PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE   PostgreSQL, as for psql
#   MLFLOW_ARTIFACTS_DESTINATION                 s3://bucket/folder, gs://bucket/folder or a folder
#   AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY      for s3://, unless the machine has a role
#   MLFLOW_S3_ENDPOINT_URL                       an S3-compatible store other than Amazon's
#   MLFLOW_AUTH_ADMIN_PASSWORD                   of the user `admin`, who makes the others
#   MLFLOW_FLASK_SERVER_SECRET_KEY               signs the pages' forms; any long random text
#   MLFLOW_HOST MLFLOW_PORT                      127.0.0.1 and 5000 if absent
#   MLFLOW_SERVER_ALLOWED_HOSTS                  names that the server is reached by, if not by an IP
set -eu
for name in PGHOST PGUSER PGDATABASE MLFLOW_ARTIFACTS_DESTINATION MLFLOW_AUTH_ADMIN_PASSWORD \
    MLFLOW_FLASK_SERVER_SECRET_KEY; do
    eval "[ -n \"\${$name:-}\" ]" || { echo "serve.sh: $name is not set" >&2; exit 2; }
done
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

export MLFLOW_AUTH_CONFIG_PATH="$here/basic_auth.ini"
# Without it eight more processes and 2 GB, for features of language models.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export MLFLOW_DISABLE_TELEMETRY=true

if [ -n "${MLFLOW_S3_ENDPOINT_URL:-}" ]; then
    python "$here/make_bucket.py"
fi
exec mlflow server --app-name basic-auth --backend-store-uri postgresql+psycopg:// "$@"
