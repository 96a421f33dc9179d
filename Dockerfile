# The operator and the plugin, two static executables and nothing else; `/kubectl-lease install DIR` brings the plugin into other
# containers of a pod:
#   docker build -t leasehold:0.1.0 .        (or podman, or buildah bud)
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
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package leasehold --bin leasehold --bin kubectl-lease \
    && cp target/release/leasehold target/release/kubectl-lease /

FROM scratch
COPY --from=build /leasehold /kubectl-lease /
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/leasehold"]
