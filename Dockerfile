# The service of docs/deploy.md. Build: docker build --tag voxcert .
# A certified run, its checkpoint and a folder for the enrolled speakers are mounted; no network is needed to run it.
FROM python:3.11-slim

WORKDIR /build
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY src src
COPY configs configs
RUN pip install --no-cache-dir --constraint requirements.lock ".[serve,onnx]" && rm -rf /build

RUN useradd --create-home voxcert && install --directory --owner voxcert /speakers
USER voxcert
WORKDIR /home/voxcert
ENV OMP_NUM_THREADS=1
VOLUME /speakers
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["voxcert", "serve"]
CMD ["/certified/run", "--checkpoint", "/certified/checkpoint", "--database", "/speakers/speakers.sqlite", "--host", "0.0.0.0"]
