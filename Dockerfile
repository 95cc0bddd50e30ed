# One image for every role: the command is `gateway`, `mirror`, `relay`, `migrate`, …
FROM python:3.13-slim AS builder
WORKDIR /build

RUN python -m venv /opt/mediamirror && python -m venv /opt/development
COPY requirements.txt requirements-dev.txt ./
RUN /opt/mediamirror/bin/pip install --no-cache-dir --require-hashes --requirement requirements.txt
# The build tool is among the locked packages for development, none of which reach the final image.
RUN /opt/development/bin/pip install --no-cache-dir --require-hashes --requirement requirements-dev.txt

COPY pyproject.toml README.md LICENSE ./
COPY deploy/kafka deploy/kafka
COPY schemas schemas
COPY handlers handlers
COPY service service
COPY standin standin
RUN /opt/development/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/mediamirror/bin/pip install --no-cache-dir --no-deps dist/*.whl


FROM python:3.13-slim
COPY --from=builder /opt/mediamirror /opt/mediamirror
# Each role has a container of its own, and answers on the same port; the gateway's /readyz and /metrics are on another.
ENV PATH="/opt/mediamirror/bin:$PATH" PYTHONUNBUFFERED=1 \
    MEDIAMIRROR_GATEWAY_HOST=0.0.0.0 MEDIAMIRROR_ADMIN_HOST=0.0.0.0 MEDIAMIRROR_ADMIN_PORT=8081 \
    MEDIAMIRROR_MIRROR_HOST=0.0.0.0 MEDIAMIRROR_RELAY_HOST=0.0.0.0 \
    MEDIAMIRROR_RECONCILER_HOST=0.0.0.0 MEDIAMIRROR_WRITEBACK_HOST=0.0.0.0 MEDIAMIRROR_POLLER_HOST=0.0.0.0 \
    MEDIAMIRROR_MIRROR_PORT=8080 MEDIAMIRROR_RELAY_PORT=8080 MEDIAMIRROR_RECONCILER_PORT=8080 \
    MEDIAMIRROR_WRITEBACK_PORT=8080 MEDIAMIRROR_POLLER_PORT=8080
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/livez', timeout=3)"]
ENTRYPOINT ["mediamirror"]
CMD ["gateway"]
