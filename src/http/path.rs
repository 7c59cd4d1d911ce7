//! The part of a path that names something.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::error::ApiError;

/// The parameter of a path, percent-decoded.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // axum's own refusal is no error in OpenAI's shape.
        let Ok(Path(id)) = Path::from_request_parts(parts, state).await else {
            let message = format!("the percent-encoding in the path {} is not valid UTF-8", parts.uri.path());
            return Err(ApiError::invalid(StatusCode::BAD_REQUEST, "invalid_value", message));
        };
        Ok(Self(id))
    }
}
