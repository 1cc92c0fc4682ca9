# The tag moves with Python's bug fixes, so a rebuild picks them up; the dependencies are hash-pinned.
FROM python:3.13-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

# One environment to build with, and one, without pip, that is shipped.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/gateway

WORKDIR /src
COPY requirements.txt requirements-build.txt ./
RUN /opt/build/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements-build.txt && \
    /opt/build/bin/python -m pip --python /opt/gateway/bin/python install --quiet \
        --require-hashes --only-binary :all: -r requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY migrations ./migrations
RUN /opt/build/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /src/dist . && \
    /opt/build/bin/python -m pip --python /opt/gateway/bin/python install --quiet \
        --no-deps --no-index /src/dist/*.whl


FROM python:3.13-slim-bookworm

RUN groupadd --gid 10001 gateway && \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin gateway && \
    install --directory --owner 10001 --group 10001 --mode 0700 /data

COPY --from=build /opt/gateway /opt/gateway

ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GATEWAY_DATA_DIR=/data \
    GATEWAY_DATABASE_URL=sqlite:////data/gateway.db

USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080

HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]

CMD ["gateway", "serve", "--host", "0.0.0.0"]
