# Two images of one project: `serving` answers online requests, `flows` runs everything else (flow runs, workers, the
# Prefect and MLflow servers, `perennial`). docs/decisions/0007 says why they are made so.
#
#   docker build --target serving --build-arg REVISION=$(git rev-parse HEAD) --tag perennial-serving .
#   docker build --target flows   --build-arg REVISION=$(git rev-parse HEAD) --tag perennial-flows .
#
# Give BASE with a digest (python:3.11-slim-bookworm@sha256:...) where a build must be the same a year later.
ARG BASE=python:3.11-slim-bookworm

# What only builds: an environment without pip in it, and the tools to fill it.
FROM ${BASE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends binutils \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/tools \
 && python3 -m venv --without-pip /opt/venv
COPY deployments/images/trim.sh /usr/local/bin/trim

FROM build AS serving-dependencies
COPY deployments/images/serving.lock /tmp/lock
RUN /opt/tools/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --require-hashes --no-compile \
      -r /tmp/lock \
 && trim /opt/venv

FROM build AS flows-dependencies
COPY deployments/images/flows.lock /tmp/lock
RUN /opt/tools/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --require-hashes --no-compile \
      -r /tmp/lock \
 && trim /opt/venv

# What both images stand on: the base as one layer, without pip, package lists and manuals.
FROM ${BASE} AS trimmed
COPY deployments/images/trim.sh /tmp/trim
RUN groupadd --gid 10001 perennial \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin perennial \
 && install --directory --owner 10001 --group 10001 /storage /state \
 && /tmp/trim --base \
 && rm /tmp/trim

FROM scratch AS runtime
# hadolint ignore=DL3067
COPY --from=trimmed / /
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    HOME=/tmp \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

FROM runtime AS serving
COPY --from=serving-dependencies /opt/venv /opt/venv
COPY pyproject.toml /app/
COPY deployments/images/install.py deployments/images/healthy.py deployments/images/start.py /opt/perennial/
RUN ["python", "/opt/perennial/install.py", "/app"]
COPY perennial /app/perennial
COPY serving /app/serving
COPY use_cases /app/use_cases
ARG REVISION=unknown
LABEL org.opencontainers.image.title="perennial-serving" \
      org.opencontainers.image.description="Answers online requests by the release in force" \
      org.opencontainers.image.revision="${REVISION}"
ENV PERENNIAL_REVISION=${REVISION} \
    PERENNIAL_USE_CASES=/app/use_cases \
    PERENNIAL_HEALTH=http://127.0.0.1:8080/v2/health/live
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=240s CMD ["python", "-S", "/opt/perennial/healthy.py"]
ENTRYPOINT ["python", "/opt/perennial/start.py", "python", "-m", "serving"]

FROM runtime AS flows
COPY --from=flows-dependencies /opt/venv /opt/venv
COPY pyproject.toml requirements.lock prefect.yaml /app/
COPY deployments/images/install.py deployments/images/healthy.py deployments/images/start.py /opt/perennial/
RUN ["python", "/opt/perennial/install.py", "/app"]
COPY perennial /app/perennial
COPY blocks /app/blocks
COPY tasks /app/tasks
COPY deployments /app/deployments
COPY cli /app/cli
COPY flows /app/flows
COPY use_cases /app/use_cases
ARG REVISION=unknown
LABEL org.opencontainers.image.title="perennial-flows" \
      org.opencontainers.image.description="Flow runs, workers, and the Prefect and MLflow servers" \
      org.opencontainers.image.revision="${REVISION}"
ENV PERENNIAL_REVISION=${REVISION} \
    PREFECT_HOME=/tmp/prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    MLFLOW_DISABLE_TELEMETRY=true \
    GIT_PYTHON_REFRESH=quiet \
    DO_NOT_TRACK=1
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=240s CMD ["python", "-S", "/opt/perennial/healthy.py"]
ENTRYPOINT ["python", "/opt/perennial/start.py"]
CMD ["perennial", "--help"]
