"""Where the object store is: S3, or anything that speaks its protocol."""

from __future__ import annotations

from pydantic import Field, SecretStr, model_validator

from libs.settings.environment import Environment


class ObjectStoreSettings(Environment):
    """Amazon S3, MinIO, SeaweedFS or another store with S3's API, signature version 4 and path-style addresses."""

    s3_endpoint_url: str | None = Field(
        default=None, pattern=r"^https?://[^/@\s]+/?$", description="http(s)://HOST:PORT; empty for Amazon S3"
    )
    s3_region: str = Field(default="us-east-1", description="region of the bucket")
    s3_bucket: str = Field(
        default="agent-runtime", min_length=3, description="bucket, of this installation alone; it must exist"
    )
    s3_access_key_id: SecretStr | None = Field(
        default=None, description="access key; without one, the credentials of the task or machine are used"
    )
    s3_secret_access_key: SecretStr | None = Field(default=None, description="secret key for S3_ACCESS_KEY_ID")
    s3_ca_file: str | None = Field(default=None, description="CA bundle (PEM) of the store's certificate")

    @model_validator(mode="after")
    def _both_keys_or_none(self) -> ObjectStoreSettings:
        if (self.s3_access_key_id is None) != (self.s3_secret_access_key is None):
            raise ValueError("S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY are given together or not at all")
        return self
