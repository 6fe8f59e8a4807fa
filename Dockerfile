# `dse serve` with one student: docker build --build-arg STUDENT=my-student -t dse . && docker run -p 127.0.0.1:8080:8080 dse
FROM python:3.11-slim
ARG STUDENT
COPY pyproject.toml README.md LICENSE constraints.txt /build/
COPY src /build/src
# The CPU build of torch; any other pulls gigabytes of CUDA libraries.
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c /build/constraints.txt "torch==2.13.0+cpu" \
    && pip install --no-cache-dir -c /build/constraints.txt "/build[serve,onnx]" && rm -r /build
COPY ${STUDENT} /student
RUN useradd --create-home dse
USER dse
ENV HF_HUB_OFFLINE=1
EXPOSE 8080
ENTRYPOINT ["dse", "serve", "/student", "--host", "0.0.0.0", "--port", "8080"]
