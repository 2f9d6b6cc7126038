# docker build -t dsn-page .                     serves the page of an index; no PyTorch
# docker build --target index -t dsn-index .     makes and updates indexes; PyTorch for CPUs
#   --build-arg ALSO="-r requirements-scale.txt pillow-heif"     installs more packages
# docs/scale.md says how to run them.

FROM python:3.12-slim AS base
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 HF_HOME=/tmp/huggingface
COPY requirements*.txt ./
ARG ALSO=
# OpenVINO computes on the CPU here: its plugins for other devices are a sixth of the packages
# hadolint ignore=SC2086
RUN pip install -r requirements-page.txt $ALSO \
    && rm -f /usr/local/lib/python3.*/site-packages/openvino/libs/libopenvino_intel_[gn]pu_plugin.so
ENTRYPOINT ["python", "search.py"]

FROM base AS index
ARG TORCH="--index-url https://download.pytorch.org/whl/cpu"
# hadolint ignore=SC2086
RUN pip install $TORCH -c requirements.txt torch torchvision \
    && pip install -c requirements.txt timm safetensors
COPY . .
USER 1000
CMD ["index", "--help"]

FROM base AS page
COPY . .
USER 1000
EXPOSE 7860
CMD ["serve", "--index", "/index", "--host", "0.0.0.0"]
