-- Run once by the first start of the PostgreSQL image; it has made the database of Prefect itself.
CREATE DATABASE mlflow;
