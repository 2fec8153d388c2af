# The image of a node: `docker build -t fanfare .`
#
# Needs no BuildKit features, so that any engine can build it. The dependencies are a separate layer: a change of the
# sources of this repository recompiles only these.
#
# The base images are named by tag. A release is built from the digests that scripts/release-check looks up in the registry
# that day: --build-arg RUST=rust@sha256:… --build-arg RUNTIME=debian@sha256:…
ARG RUST=rust:1.95-bookworm
ARG RUNTIME=debian:bookworm-slim

# Keeps only the files that determine the dependencies. Every change rebuilds this stage, but its output, which the next
# stage copies, stays the same until a manifest changes.
FROM ${RUST} AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock -delete \
 && for manifest in crates/*/Cargo.toml examples/*/Cargo.toml tools/*/Cargo.toml tests/Cargo.toml fuzz/Cargo.toml; do \
        mkdir -p "${manifest%Cargo.toml}src" \
     && touch "${manifest%Cargo.toml}src/lib.rs" \
     && echo 'fn main() {}' > "${manifest%Cargo.toml}src/main.rs"; \
    done

FROM ${RUST} AS build
WORKDIR /src
# Keeps function names for backtraces; removes line tables, which are most of the size.
ENV CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=debuginfo CARGO_TARGET_DIR=/target
COPY --from=manifests /src .
# Removes the build results of the stub sources: cargo compares times, and the real sources may be older than the stubs.
RUN cargo build --release --locked --package fanfare \
 && rm -rf crates examples tools tests fuzz /target/release/.fingerprint/fanfare*
COPY . .
RUN cargo build --release --locked --package fanfare

# The soak test and the attacks, for scripts/test-compose and scripts/test-k8s: `docker build --target soak -t fanfare-soak .`
FROM build AS build-soak
RUN cargo build --release --locked --package fanfare-soak

FROM ${RUNTIME} AS soak
COPY --from=build-soak /target/release/fanfare-soak /target/release/fanfare-attack /usr/local/bin/
USER 10001:10001
ENTRYPOINT ["fanfare-soak"]

FROM ${RUNTIME} AS node
# The commit: --build-arg REVISION=$(git rev-parse HEAD).
ARG REVISION
LABEL org.opencontainers.image.title="fanfare" \
      org.opencontainers.image.description="Server-sent events from a cluster of stateless nodes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /target/release/fanfare /usr/local/bin/fanfare
# A numeric user, so that Kubernetes can verify that it is not root.
USER 10001:10001
# Clients; and probes, metrics and admin calls, if admin.listen is set.
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
# Checks liveness, not readiness: a node that lost Redis keeps its streams and must not be replaced. Use
# `fanfare health --ready` to check readiness.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["fanfare", "health"]
# The node handles signals itself and has no child processes, so it needs no init.
ENTRYPOINT ["fanfare"]
CMD ["serve"]
