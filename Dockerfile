# The image. Its variants are the last four targets: minimal, standard, full, dev. docs/image.md says what is in each,
# what was proven and how. No syntax line: the engine's own frontend does all of this, and that one would be pulled.
#
# Whatever is not in a package registry has a stage of its own: a build that cannot reach it gives a folder instead, as
# `--build-context NAME=FOLDER` (python, comfyui, nodes-standard, nodes-full). `wheels` is empty unless given: Python
# packages that are taken before the index's.

# torch brings CUDA's libraries in its wheels, so the small base of NVIDIA's does.
ARG RUNTIME_BASE=nvidia/cuda:13.0.2-base-ubuntu24.04
ARG NODE_IMAGE=node:24-bookworm-slim
ARG UV_IMAGE=astral/uv:0.13.9

FROM ${UV_IMAGE} AS uv
FROM scratch AS wheels


# ---- from outside the registries

# No base has the Python we want; this one runs on any.
FROM ${RUNTIME_BASE} AS python-src
ARG PYTHON_VERSION=3.13
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    uv python install --no-bin --install-dir /tmp/python ${PYTHON_VERSION} \
    && mv /tmp/python/cpython-${PYTHON_VERSION}.* /opt/python
FROM scratch AS python
COPY --from=python-src /opt/python /

FROM ${RUNTIME_BASE} AS git
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*.log /var/log/apt

FROM git AS comfyui-src
ARG COMFYUI_VERSION=0.33.0
RUN git clone --quiet --depth 1 --branch v${COMFYUI_VERSION} https://github.com/Comfy-Org/ComfyUI /src \
    && grep -qx "__version__ = \"${COMFYUI_VERSION}\"" /src/comfyui_version.py \
    && git -C /src rev-parse HEAD > /src/.commit \
    && rm -rf /src/.git
FROM scratch AS comfyui
COPY --from=comfyui-src /src /

FROM git AS nodes-src
COPY --from=python / /opt/python
COPY image/nodes.py image/custom-nodes.toml /image/
RUN /opt/python/bin/python3 /image/nodes.py clone --variant standard --into /standard \
    && /opt/python/bin/python3 /image/nodes.py clone --variant full --into /full
FROM scratch AS nodes-standard
COPY --from=nodes-src /standard /
FROM scratch AS nodes-full
COPY --from=nodes-src /full /


# ---- what runs, from what seldom changes to what often does

FROM ${RUNTIME_BASE} AS runtime
# numbers of our own, so that a volume's files belong to the same users on every pod
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates nginx redis-server tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*.log /var/log/apt /etc/nginx/sites-enabled/* \
    && groupadd --gid 10001 workspace \
    && useradd --uid 10001 --gid workspace --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin suite \
    && useradd --uid 10002 --gid workspace --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin comfyui \
    # any user may be told to run this; what is made below belongs to that one
    && install -d -m 1777 /workspace /var/lib/suite
ENV PATH=/app/suite-venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATE_DIR=/var/lib/suite/state \
    RQ_REDIS_URL=unix:///var/lib/suite/state/sockets/redis.sock
WORKDIR /app
# No VOLUME: Docker would put one there that goes with the container, and the boot could not warn of it.
EXPOSE 8080 3000
# Not of ComfyUI: it takes minutes to load on a cold volume, and when it does not, the dashboard says why.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/app/suite-venv/bin/python", "-m", "bootstrap.health"]
ENTRYPOINT ["/usr/bin/tini", "-s", "--", "/app/suite-venv/bin/python", "-m", "bootstrap"]

# ComfyUI in a venv of its own. Each step is a layer, so that an update of ComfyUI does not bring torch again.
FROM runtime AS builder
# ComfyUI-Manager calls it
RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*.log /var/log/apt
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
COPY --link --from=python / /opt/python
ARG TORCH_VERSION=2.13.0
# cu126, cu130, cu132 or cpu: PyTorch's own index. pypi: what the index and `wheels` have.
ARG TORCH_BACKEND=cu130
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=cache,target=/root/.cache/uv \
    [ "$TORCH_BACKEND" = pypi ] || export UV_TORCH_BACKEND=$TORCH_BACKEND; \
    uv venv --quiet --python /opt/python/bin/python3 /app/venv \
    && uv pip install --quiet --python /app/venv --find-links /wheels torch==${TORCH_VERSION} torchvision torchaudio
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=image/comfyui.lock,target=/build/comfyui.lock \
    --mount=type=cache,target=/root/.cache/uv \
    uv pip install --quiet --python /app/venv --no-deps --require-hashes -r /build/comfyui.lock
COPY --link --from=comfyui / /app/comfyui
# What ComfyUI itself fixes the version of.
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=image/comfyui.lock,target=/build/comfyui.lock \
    --mount=type=bind,source=provision,target=/build/provision \
    --mount=type=cache,target=/root/.cache/uv \
    /app/venv/bin/python -c "from importlib.metadata import version; print('torch==' + version('torch'))" > /tmp/torch.txt \
    && uv pip install --quiet --python /app/venv -c /build/comfyui.lock -c /tmp/torch.txt -r /app/comfyui/requirements.txt \
    && rm /tmp/torch.txt \
    && PYTHONPATH=/build /app/venv/bin/python -m provision.torch_fixes
RUN --mount=type=bind,source=image,target=/build \
    /build/first-start

FROM builder AS builder-standard
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=image/custom-nodes-standard.lock,target=/build/custom-nodes-standard.lock \
    --mount=type=cache,target=/root/.cache/uv \
    uv pip install --quiet --python /app/venv --no-deps --require-hashes -r /build/custom-nodes-standard.lock
COPY --link --from=nodes-standard / /app/comfyui/custom_nodes
RUN --mount=type=bind,source=image,target=/build \
    /build/first-start

FROM builder-standard AS builder-full
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential curl less nano ripgrep \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*.log /var/log/apt
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=image/custom-nodes-full.lock,target=/build/custom-nodes-full.lock \
    --mount=type=cache,target=/root/.cache/uv \
    uv pip install --quiet --python /app/venv --no-deps --require-hashes -r /build/custom-nodes-full.lock
COPY --link --from=nodes-full / /app/comfyui/custom_nodes
RUN --mount=type=bind,source=image,target=/build \
    /build/first-start

FROM ${NODE_IMAGE} AS code-server
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates g++ libkrb5-dev make pkg-config python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/code-server
COPY image/code-server/package.json image/code-server/package-lock.json ./
# What talks to terminals and files is compiled, from the headers that are here: its packages would also take binaries
# from elsewhere. The program brings the Node.js it was built for.
ENV npm_config_build_from_source=true npm_config_nodedir=/usr/local
# hadolint ignore=SC2016
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --no-audit --no-fund \
    && mkdir bin && cp "$(command -v node)" bin/node \
    && printf '#!/bin/sh\nexec /opt/code-server/bin/node /opt/code-server/node_modules/code-server/out/node/entry.js "$@"\n' \
        > bin/code-server \
    && chmod 755 bin/code-server \
    # what only its compiler, other machines or somebody's account needs
    && rm -rf node_modules/code-server/lib/vscode/extensions/copilot \
        node_modules/code-server/lib/vscode/node_modules/@github/copilot-sdk-linux-* \
        node_modules/code-server/lib/vscode/node_modules/@microsoft/mxc-sdk/bin \
        node_modules/code-server/lib/vscode/node_modules/@vscode/sqlite3/deps \
    && find . -depth \( -path '*/build/Release/obj*' -o -name '*.map' -o -name '*.o' -o -name '*.a' \) -exec rm -rf {} +

FROM builder-full AS builder-dev
# A login shell, which JupyterLab's terminals are, forgets the PATH it was given.
# hadolint ignore=SC2016
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgssapi-krb5-2 \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*.log /var/log/apt \
    && echo 'PATH=/app/venv/bin:$PATH' > /etc/profile.d/comfyui.sh
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=image/jupyter.lock,target=/build/jupyter.lock \
    --mount=type=cache,target=/root/.cache/uv \
    uv venv --quiet --python /opt/python/bin/python3 /opt/jupyter \
    && uv pip install --quiet --python /opt/jupyter --no-deps --require-hashes -r /build/jupyter.lock
COPY --link --from=code-server /opt/code-server /opt/code-server


# ---- the suite itself

FROM runtime AS python-deps
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
COPY --link --from=python / /opt/python
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=requirements.lock,target=/build/requirements.lock \
    --mount=type=cache,target=/root/.cache/uv \
    uv venv --quiet --python /opt/python/bin/python3 /app/suite-venv \
    && uv pip install --quiet --python /app/suite-venv --no-deps --require-hashes -r /build/requirements.lock \
    # supervisorctl finds it there by itself
    && mkdir /app/suite-venv/etc && ln -s /var/lib/suite/state/supervisord.conf /app/suite-venv/etc/supervisord.conf \
    # the suite's code comes later; PATH looks here first
    && ln -s /app/tools/preset-manager /app/suite-venv/bin/preset-manager

FROM ${NODE_IMAGE} AS dashboard-builder
WORKDIR /app
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts --no-audit --no-fund
COPY dashboard/build.mjs dashboard/
COPY dashboard/scripts dashboard/scripts
COPY dashboard/styles dashboard/styles
COPY dashboard/templates dashboard/templates
RUN node dashboard/build.mjs

FROM python-deps AS suite
WORKDIR /suite
COPY LICENSE supervisord.conf ./
COPY nginx nginx
COPY presets presets
COPY bootstrap bootstrap
COPY services services
COPY worker worker
COPY tools tools
COPY dashboard dashboard
COPY --from=dashboard-builder /app/dashboard/static dashboard/static
RUN rm -rf dashboard/build.mjs dashboard/scripts dashboard/styles \
    && /app/suite-venv/bin/python -m compileall -qq -s /suite -p /app --invalidation-mode unchecked-hash .


# ---- the variants: only the last layer changes with the suite's code

FROM builder AS minimal
COPY --link --from=python-deps /app/suite-venv /app/suite-venv
COPY --link --from=suite /suite /app

FROM builder-standard AS standard
COPY --link --from=python-deps /app/suite-venv /app/suite-venv
COPY --link --from=suite /suite /app

FROM builder-full AS full
COPY --link --from=python-deps /app/suite-venv /app/suite-venv
COPY --link --from=suite /suite /app

FROM builder-dev AS dev
EXPOSE 7777 8888
COPY --link --from=python-deps /app/suite-venv /app/suite-venv
COPY --link --from=suite /suite /app
