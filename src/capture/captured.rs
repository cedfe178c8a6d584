//! A capture of a running service, and how it is kept.

use std::time::SystemTime;

use thermograph_profile::{
    Profile,
    captures::{Folder, Forms, Name},
};

use super::What;

/// A capture of a running service.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub(crate) what: What,
    pub(crate) profile: Profile,
    pub(crate) forms: Forms,
    /// Whose alone it is, such as `POST /v1/embeddings`.
    pub(crate) handler: Option<String>,
}

impl Captured {
    /// Writes every form, and gives their paths; the last is the picture.
    pub(crate) fn keep(
        &self,
        folder: &Folder,
        time: SystemTime,
        handler: Option<&str>,
    ) -> anyhow::Result<Vec<String>> {
        let forms = self.forms.each();
        let name = folder.save(Name::new(time, self.what.kind(), handler), &forms)?;
        Ok(forms.iter().map(|(form, _)| form.file(&name)).collect())
    }
}
