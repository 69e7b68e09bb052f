# Serves the model in served/ on port 8080; see docs/how-to/serve-a-model.md.
FROM python:3.11-slim
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY served /model
USER nobody
ENV HOME=/tmp MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false MLFLOW_DISABLE_TELEMETRY=true
EXPOSE 8080
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/ping')"]
CMD ["mlflow", "models", "serve", "-m", "/model", "--env-manager", "local", "--host", "0.0.0.0", "--port", "8080"]
