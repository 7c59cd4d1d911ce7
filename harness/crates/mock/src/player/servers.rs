//! MCP servers that live in the caller: the CLI is their client, over control requests.

use serde_json::{Value, json};

use super::ask::RequestOutcome;
use super::{Player, Stop};
use crate::input::Control;

/// What 2.1.330 says to `mcp_reconnect` of a server in the caller.
const NO_RECONNECT: &str = "SDK servers should be handled in print.ts";

/// An MCP server of the caller.
#[derive(Debug, Clone)]
pub(super) struct Server {
    name: String,
    /// What it said of itself; none while it is off, or has failed.
    info: Option<Value>,
    /// The caller has switched it off.
    is_off: bool,
    /// Its tools, once they were listed.
    tools: Option<Vec<Value>>,
    /// The id of the next request to it.
    next: u64,
}

impl Player {
    /// Greets the servers that `initialize` and the command line name.
    pub(super) fn initialize_servers(&mut self) -> Result<(), Stop> {
        let named = self.options.call.servers.iter().chain(&self.client.servers);
        let mut servers: Vec<Server> = Vec::new();
        for name in named {
            if servers.iter().all(|known| known.name != *name) {
                servers.push(Server { name: name.clone(), info: None, is_off: false, tools: None, next: 0 });
            }
        }
        self.servers = servers;
        (0..self.servers.len()).try_for_each(|index| self.initialize_server(index))
    }

    /// Tells the servers that they were understood, after `initialize` is answered.
    pub(super) fn confirm_servers(&mut self) -> Result<(), Stop> {
        (0..self.servers.len()).try_for_each(|index| self.confirm_server(index))
    }

    /// Asks the servers for their tools, before the first turn.
    pub(super) fn list_tools(&mut self) -> Result<(), Stop> {
        let unlisted = |server: &Server| server.info.is_some() && server.tools.is_none();
        for index in 0..self.servers.len() {
            if self.servers.get(index).is_some_and(unlisted) {
                self.list_server_tools(index)?;
            }
        }
        Ok(())
    }

    fn initialize_server(&mut self, index: usize) -> Result<(), Stop> {
        let client = json!({
            "name": "claude-code", "title": "Claude Code", "description": "lorem ipsum dolor sit amet cons",
            "websiteUrl": "https://claude.com/claude-code", "version": self.dialect.version(),
        });
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        if let Some(server) = self.servers.get_mut(index) {
            (server.next, server.is_off) = (0, false);
        }
        let result = self.call_server(index, json!({"method": "initialize", "params": params}))?;
        if let Some(server) = self.servers.get_mut(index) {
            server.info = result.ok().map(|result| result["serverInfo"].clone());
            server.tools = None;
        }
        Ok(())
    }

    fn confirm_server(&mut self, index: usize) -> Result<(), Stop> {
        let Some(server) = self.servers.get(index).filter(|server| server.info.is_some()) else { return Ok(()) };
        let message = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let id =
            self.send_request(&json!({"subtype": "mcp_message", "server_name": server.name, "message": message}))?;
        self.await_answer(&id).map(drop)
    }

    fn list_server_tools(&mut self, index: usize) -> Result<(), Stop> {
        let result = self.call_server(index, json!({"method": "tools/list"}))?;
        if let Some(server) = self.servers.get_mut(index) {
            server.tools = result.ok().and_then(|result| result["tools"].as_array().cloned());
        }
        Ok(())
    }

    /// Sends a JSON-RPC request to a server; the error is its own, in words.
    fn call_server(&mut self, index: usize, mut message: Value) -> Result<Result<Value, String>, Stop> {
        let Some(server) = self.servers.get_mut(index) else { return Ok(Err("no such server".to_owned())) };
        message["jsonrpc"] = "2.0".into();
        message["id"] = server.next.into();
        server.next += 1;
        let request = json!({"subtype": "mcp_message", "server_name": server.name, "message": message});
        let id = self.send_request(&request)?;
        let response = match self.await_answer(&id)? {
            RequestOutcome::With(mut answer) => answer["mcp_response"].take(),
            RequestOutcome::Error(error) => return Ok(Err(error)),
            RequestOutcome::Closed | RequestOutcome::Interrupted => return Ok(Err("the server is gone".to_owned())),
        };
        match response.pointer("/error/message").and_then(Value::as_str) {
            Some(error) => Ok(Err(error.to_owned())),
            None => Ok(Ok(response["result"].clone())),
        }
    }

    /// The names by which the model knows the tools of the servers.
    pub(super) fn server_tools(&self) -> Vec<String> {
        let each = self
            .servers
            .iter()
            .flat_map(|server| server.tool_names().map(|name| format!("mcp__{}__{name}", server.name)));
        each.collect()
    }

    /// The servers in a `system/init`.
    pub(super) fn servers_in_init(&self) -> Vec<Value> {
        let connected = self.servers.iter().filter(|server| server.tools.is_some());
        connected.map(|server| json!({"name": server.name, "status": "connected", "source": "sdk"})).collect()
    }

    /// The server and the schema of the input of the tool that the model knows by this name.
    pub(super) fn server_tool(&self, full: &str) -> Option<(usize, String, Value)> {
        self.servers.iter().enumerate().find_map(|(index, server)| {
            let name = full.strip_prefix("mcp__")?.strip_prefix(&server.name)?.strip_prefix("__")?;
            let tool = server.tools.iter().flatten().find(|tool| tool["name"] == name)?;
            Some((index, server.name.clone(), tool["inputSchema"].clone()))
        })
    }

    /// Calls a tool of a server: what it gave, or its error.
    pub(super) fn call_tool(
        &mut self,
        index: usize,
        full: &str,
        input: &Value,
        tool_use: &str,
    ) -> Result<Result<Value, String>, Stop> {
        let Some(server) = self.servers.get(index) else { return Ok(Err("no such server".to_owned())) };
        let name = full.strip_prefix(&format!("mcp__{}__", server.name)).unwrap_or(full);
        let meta = json!({"claudecode/toolUseId": tool_use, "progressToken": server.next});
        let message = json!({"method": "tools/call", "params": {"name": name, "arguments": input, "_meta": meta}});
        self.call_server(index, message)
    }

    /// Answers what is asked about the servers of the caller; false where it is about none of them.
    pub(super) fn answer_about_servers(&mut self, asked: &Control) -> Result<bool, Stop> {
        if self.servers.is_empty() {
            return Ok(false);
        }
        if asked.subtype == "mcp_status" {
            let status: Vec<Value> = self.servers.iter().filter_map(Server::status_entry).collect();
            self.send_success(&asked.id, Some(json!({"mcpServers": status})))?;
            return Ok(true);
        }
        let name = asked.text("serverName").unwrap_or_default();
        let Some(index) = self.servers.iter().position(|server| server.name == name) else { return Ok(false) };
        match asked.subtype.as_str() {
            "mcp_toggle" if asked.request.get("enabled") == Some(&Value::Bool(false)) => {
                if let Some(server) = self.servers.get_mut(index) {
                    (server.info, server.tools, server.is_off) = (None, None, true);
                }
                self.send_success(&asked.id, None)?;
            }
            "mcp_toggle" => {
                self.initialize_server(index)?;
                self.confirm_server(index)?;
                self.list_server_tools(index)?;
                self.send_success(&asked.id, None)?;
            }
            "mcp_reconnect" => {
                let body = json!({"subtype": "error", "request_id": asked.id, "error": NO_RECONNECT});
                self.out.push_line(&json!({"type": "control_response", "response": body}).to_string())?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn send_success(&mut self, id: &str, response: Option<Value>) -> Result<(), Stop> {
        let mut body = json!({"subtype": "success", "request_id": id});
        if let Some(response) = response {
            body["response"] = response;
        }
        Ok(self.out.push_line(&json!({"type": "control_response", "response": body}).to_string())?)
    }
}

impl Server {
    fn tool_names(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().flatten().filter_map(|tool| tool["name"].as_str())
    }

    /// One entry of `mcp_status`; before its tools are listed there is none.
    fn status_entry(&self) -> Option<Value> {
        let status = if self.is_off { "disabled" } else { "failed" };
        let Some(info) = &self.info else {
            return Some(json!({
                "name": self.name, "status": status, "transport": "sdk", "scope": "dynamic", "source": "sdk",
            }));
        };
        self.tools.as_ref()?;
        let tools: Vec<Value> = self.tool_names().map(|name| json!({"name": name, "annotations": {}})).collect();
        Some(json!({
            "name": self.name, "status": "connected", "serverInfo": info, "transport": "sdk", "scope": "dynamic",
            "source": "sdk", "tools": tools,
        }))
    }
}
