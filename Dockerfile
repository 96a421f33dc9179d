# The operator and kubectl-lease, two static executables and nothing else:
#   docker build -t leasehold:0.1.0 .        (or podman, or buildah bud)
#
# No certificates are needed in the image: the API server is trusted by the CA that the cluster mounts beside the token.
FROM docker.io/library/rust:1.95-alpine AS build
# On Alpine the target is musl, linked statically. ring has C and assembly parts: musl-dev.
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package leasehold --bin leasehold --bin kubectl-lease \
    && cp target/release/leasehold target/release/kubectl-lease /

FROM scratch
COPY --from=build /leasehold /kubectl-lease /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/leasehold"]
