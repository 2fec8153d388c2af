# The image of a node: `docker build -t fanfare .`
#
# Needs nothing of BuildKit, so that it builds wherever there is an engine. The dependencies are a layer of their own:
# a change of our sources alone compiles only ours.
#
# The base images are named by tag. A release is built from their digests of that day, which scripts/release-check looks up
# where the registry is reached: --build-arg RUST=rust@sha256:… --build-arg RUNTIME=debian@sha256:…
ARG RUST=rust:1.95-bookworm
ARG RUNTIME=debian:bookworm-slim

# Only what decides about dependencies. The stage is made anew with every change, but what the next one copies from it
# is the same as long as no manifest changes.
FROM ${RUST} AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock -delete \
 && for manifest in crates/*/Cargo.toml examples/*/Cargo.toml tests/Cargo.toml; do \
        mkdir -p "${manifest%Cargo.toml}src" \
     && touch "${manifest%Cargo.toml}src/lib.rs" \
     && echo 'fn main() {}' > "${manifest%Cargo.toml}src/main.rs"; \
    done

FROM ${RUST} AS build
WORKDIR /src
# Function names stay for backtraces; line tables are most of the size.
ENV CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=debuginfo CARGO_TARGET_DIR=/target
COPY --from=manifests /src .
# What was built of the stand-ins is forgotten: sources may be older than they, and cargo goes by the time.
RUN cargo build --release --locked --package fanfare \
 && rm -rf crates examples tests /target/release/.fingerprint/fanfare*
COPY . .
RUN mkdir -p tests/src && touch tests/src/lib.rs \
 && cargo build --release --locked --package fanfare

# The soak program, for scripts/test-compose and scripts/test-k8s: `docker build --target load -t fanfare-load .`
FROM build AS build-load
RUN cargo build --release --locked --package fanfare-load

FROM ${RUNTIME} AS load
COPY --from=build-load /target/release/fanfare-load /usr/local/bin/fanfare-load
USER 10001:10001
ENTRYPOINT ["fanfare-load"]

FROM ${RUNTIME} AS node
COPY --from=build /target/release/fanfare /usr/local/bin/fanfare
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
# Clients; and probes, metrics and admin calls, if the setting admin.listen says so.
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
# Whether the process answers, not whether it is ready: a node that lost Redis keeps its streams and must not be
# replaced. Ask for more with `fanfare health --ready`.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["fanfare", "health"]
# The node takes signals itself and has no children, so it needs no init.
ENTRYPOINT ["fanfare"]
CMD ["serve"]
