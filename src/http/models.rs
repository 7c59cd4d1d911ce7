//! `GET /v1/models` and `GET /v1/models/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::error::ApiError;
use super::path::Id;
use super::{App, Backend};
use crate::openai::{Model, ModelList};

/// All models.
pub(super) async fn list_models<B: Backend>(State(app): State<Arc<App<B>>>) -> Json<ModelList> {
    Json(app.models.list(&app.known_models()))
}

/// One of them. An id can have slashes.
pub(super) async fn get_model<B: Backend>(State(app): State<Arc<App<B>>>, Id(id): Id) -> Result<Json<Model>, ApiError> {
    let known = app.known_models();
    app.models.find(&id, &known).map(Json).ok_or_else(|| {
        let list = app.models.list(&known).data.into_iter().map(|model| model.id).collect::<Vec<_>>();
        ApiError::unknown_model(&id, &list)
    })
}
