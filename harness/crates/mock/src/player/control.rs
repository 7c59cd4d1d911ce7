//! Control requests of the caller, and their answers.

use crate::client::Client;
use crate::input::Control;
use crate::line::replace_id;
use crate::options::Pace;

use super::{Player, Stop};

impl Player {
    pub(super) fn answer_control(&mut self, asked: &Control) -> Result<(), Stop> {
        if asked.subtype == "initialize" {
            self.client = Client::new(asked);
            self.initialize_servers()?;
        }
        if self.answer_about_servers(asked)? {
            return Ok(());
        }
        let may_bypass = self.options.call.permissions.may_bypass;
        let Some(answer) = self.dialect.answer_control(asked, may_bypass) else { return Ok(()) };
        if self.options.pace == Pace::Recorded {
            self.out.flush()?;
            std::thread::sleep(answer.gap);
        }
        if answer.model.is_some() {
            self.model = answer.model;
        }
        if let Some(mode) = answer.mode {
            self.mode = mode;
        }
        match asked.subtype.as_str() {
            "initialize" => {
                self.out.push_line(&self.own_initialization(answer.line))?;
                self.confirm_servers()?;
            }
            "end_session" => {
                self.out.push_line(&answer.line)?;
                self.out.flush()?;
                return Err(Stop::Exit(0));
            }
            _ => self.out.push_line(&answer.line)?,
        }
        let session = self.session_id();
        for line in answer.after {
            let recorded = line.session.as_deref().unwrap_or_default();
            self.out.push_line(&replace_id(&line.raw, recorded, &session))?;
        }
        Ok(())
    }
}
