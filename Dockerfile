# A static binary on an empty base: no shell, no package manager, not root.
#   docker build -t tollgate .
#   docker run --read-only -e TOLLGATE_API_KEY=secret -p 8080:8080 -v tollgate:/data tollgate

FROM rust:1.95-alpine3.22 AS build
# A C compiler for ring and the allocator.
# hadolint ignore=DL3018
RUN apk add --no-cache build-base
WORKDIR /source
COPY . .
# Stores, sinks and commands beyond the defaults; an empty value builds the smallest binary.
ARG FEATURES=full
# `release` builds in less than half of the time, and the binary is half as large again.
ARG PROFILE=dist
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --profile "$PROFILE" --locked --package tollgate --features "$FEATURES" \
    && cp "target/$PROFILE/tollgate" /tollgate \
    && mkdir /data

FROM gcr.io/distroless/static-debian12:nonroot
LABEL org.opencontainers.image.title="Tollgate" \
      org.opencontainers.image.description="Quotas, prepaid credits, usage metering and bills in one binary" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /tollgate /tollgate
COPY --from=build --chown=65532:65532 /data /data
COPY LICENSE LICENSE-MIT LICENSE-APACHE /licenses/
ENV TOLLGATE_LISTEN=0.0.0.0:8080 \
    TOLLGATE_STORE=embedded:/data
USER 65532:65532
VOLUME /data
EXPOSE 8080
# SIGTERM answers what is open and saves.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/tollgate", "health"]
ENTRYPOINT ["/tollgate"]
CMD ["serve"]
