"""The end of certificates, in PEM as in files, and in DER as servers show them."""

from datetime import UTC, datetime


def first_end(content: bytes) -> datetime:
    """Return when the first of the certificates in a file ends. Raise ValueError if it has none that can be read."""
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415  only the doctor reads certificates

    try:
        found = load_pem_x509_certificates(content)
        return min(one.not_valid_after_utc for one in found).astimezone(UTC)
    except ValueError:
        raise ValueError("no certificates in PEM") from None


def end_of(certificate: bytes) -> datetime:
    """Return when a certificate in DER ends. Raise ValueError if it cannot be read."""
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415  the same

    return load_der_x509_certificate(certificate).not_valid_after_utc.astimezone(UTC)
