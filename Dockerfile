# The operator and the plugin, two static executables and nothing else: no shell, no package, no user but 65532.
# `/kubectl-lease install DIR` brings the plugin into other containers of a pod:
#   docker build -t leasehold:0.1.0 .        (or podman build, or buildah bud)
# Without an engine `make image` builds the last stage, as it stands here, over executables built on the machine itself.
#
# The API server is trusted by the CA that the cluster mounts beside the token. The CA certificates in the image are for connected
# systems without a caBundle of their own.
FROM docker.io/library/rust:1.95-alpine AS build
# On Alpine the target is musl, linked statically. ring has C and assembly parts: musl-dev.
RUN apk add --no-cache ca-certificates musl-dev
WORKDIR /src
COPY . .
# The commit that --version names; .git is not in the build: --build-arg LEASEHOLD_COMMIT=$(git rev-parse --short=12 HEAD)
ARG LEASEHOLD_COMMIT
# No path of the build is in the executables.
ENV RUSTFLAGS="--remap-path-prefix=/usr/local/cargo=/cargo"
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package leasehold --bin leasehold --bin kubectl-lease \
    && mkdir -p /image/etc/ssl/certs \
    && cp target/release/leasehold target/release/kubectl-lease /image \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs

FROM scratch
COPY --from=build /image /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/leasehold"]
