"""What S3 and boto3 say, by what it means for an operator.

What another attempt may change is Transient: the store is down, busy, or slow, or temporary credentials have
ended and are renewed. What a person must change is Terminal: names, permissions, credentials, region, clock.
"""

from __future__ import annotations

from typing import Final

from botocore.exceptions import (
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    InvalidConfigError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
)

from cdc_platform.core.errors import CdcError, Terminal, Transient

_SETTINGS: Final = "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL"
_CREDENTIALS: Final = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE"

_REFUSED: Final = {
    "NoSuchBucket": ("there is no such bucket", "create it, or set CDC_LAKE_ROOT to one that is there"),
    "AccessDenied": (
        "the credentials may not do this here",
        "give them s3:GetObject, s3:PutObject and s3:DeleteObject on <lake root>/*, and s3:ListBucket on "
        "the bucket",
    ),
    "InvalidAccessKeyId": ("the store does not know the access key", f"set {_CREDENTIALS}"),
    "SignatureDoesNotMatch": ("the secret key is not the access key's", f"set {_CREDENTIALS}"),
    "InvalidToken": ("the session token is not the access key's", f"set {_CREDENTIALS}"),
    "PermanentRedirect": ("the bucket is in another region", "set AWS_REGION to the bucket's"),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", "set AWS_REGION to the bucket's"),
    "IllegalLocationConstraintException": ("the bucket is in another region", "set AWS_REGION to it"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "set the clock"),
    "NotImplemented": (
        "the store does not know conditional puts (If-None-Match)",
        "use one that does: Amazon S3, MinIO or Cloudflare R2, for example",
    ),
}
_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_ALIKE: Final = {
    "403": "AccessDenied",
    "Forbidden": "AccessDenied",
    "AllAccessDisabled": "AccessDenied",
    "301": "PermanentRedirect",
    "InvalidSecurity": "InvalidToken",
    "501": "NotImplemented",
}


def meaning(error: Exception, *, where: str) -> CdcError:
    """``error``: a ClientError or a BotoCoreError. ``where``: what was asked for, with the bucket."""
    if isinstance(error, ClientError):
        return _answered(error, where)
    match error:
        case NoCredentialsError() | PartialCredentialsError() | ProfileNotFound() | InvalidConfigError():
            return Terminal(f"no credentials for S3: {error}", where=where, remedy=f"set {_CREDENTIALS}")
        case SSOError():
            return Terminal(
                f"the single sign-on has ended: {error}", where=where, remedy="sign in: aws sso login"
            )
        case CredentialRetrievalError():
            return Transient(
                f"the credentials for S3 could not be had: {error}",
                where=where,
                remedy="check what gives them (role, process or metadata service)",
            )
        case ConnectionError() | HTTPClientError():
            return Transient(
                f"S3 cannot be reached: {error}",
                where=where,
                remedy=f"check the network and {_SETTINGS}; nothing is lost, the tables' own offsets say "
                "where to go on",
            )
    return Terminal(
        f"what answers is no S3 store, or its settings are wrong: {error}",
        where=where,
        remedy=f"check {_SETTINGS}",
    )


def status(error: ClientError) -> int:
    """Of HTTP."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code(error: ClientError) -> str:
    """S3's name of what is wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _answered(error: ClientError, where: str) -> CdcError:
    found = _ALIKE.get(code(error), code(error))
    if found in _EXPIRED:
        return Transient(
            "the credentials for S3 have ended",
            where=where,
            remedy=f"set {_CREDENTIALS} anew; those of a role or of single sign-on are renewed by themselves",
        )
    if found in _REFUSED:
        what, remedy = _REFUSED[found]
        return Terminal(f"{what} ({error})", where=where, remedy=remedy)
    if status(error) >= 500 or found in {"SlowDown", "RequestTimeout", "Throttling"}:
        return Transient(
            f"S3 does not answer well ({error})",
            where=where,
            remedy="nothing is lost; it is asked again. If it lasts, see the store's own health",
        )
    return Terminal(f"S3 refuses ({error})", where=where, remedy=f"check {_SETTINGS} and CDC_LAKE_ROOT")
