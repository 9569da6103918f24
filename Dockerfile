# Muster's image: controllers, agents, the command, and the program that waits in carrier Pods; one for all.
#   docker build -t REGISTRY/muster:VERSION .
# What the tests run in containers is put together by the same scripts/image-root.sh.
FROM node:24-bookworm AS build
WORKDIR /src
COPY . .
ENV MUSTER_CACHE=/var/cache/muster
RUN apt-get update && make build && scripts/image-root.sh /opt/muster

FROM debian:bookworm-slim
# Node's C++ library; the network of jobs; the topology that ranks are shown.
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates hwloc-nox iproute2 libstdc++6 nftables wireguard-tools \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/muster /opt/muster
RUN ln -s /opt/muster/bin/muster /opt/muster/bin/kubectl-muster /usr/local/bin/
ENTRYPOINT ["/opt/muster/bin/muster"]
