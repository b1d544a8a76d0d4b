// Asks the server: its settings, and answers that arrive piece by piece.

import { ofTab } from "./kept.js";

const KEY = "edge-wsd-api-key";

/** An answer or a refusal that is not what was asked for. `status` is that of HTTP, 0 where none came. */
export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export const apiKey = {
  use: (key) => ofTab.set(KEY, key),
  forget: () => ofTab.remove(KEY),
};

/** Names of pairs, defaults and questions to begin with. */
export async function fetchConfig() {
  return (await request("page/config", {})).json();
}

/** The chunks of an answer, as they arrive. `signal` of an `AbortController` ends it, on the server as well. */
export async function* streamChat(body, signal) {
  const headers = { "Content-Type": "application/json" };
  const options = { method: "POST", headers, body: JSON.stringify({ ...body, stream: true }), signal };
  const response = await request("v1/chat/completions", options);
  for await (const data of serverSentEvents(response.body)) {
    if (data === "[DONE]") return;
    const chunk = parsed(data);
    if (chunk.error) throw new ServerError(messageOf(chunk) ?? "the answer failed", response.status);
    yield chunk;
  }
  throw new ServerError("the answer broke off: the server closed the connection");
}

async function request(path, { headers = {}, ...options }) {
  const key = ofTab.get(KEY);
  const allHeaders = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
  let response;
  try {
    response = await fetch(path, { ...options, headers: allHeaders });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("the server cannot be reached; is edge-wsd serve still running?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const text = await response.text();
  let message = null;
  try {
    message = messageOf(JSON.parse(text));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error; // not JSON: something between here and the server answered
  }
  return new ServerError(message ?? `the server answered ${response.status} ${response.statusText}`.trim(), response.status);
}

function messageOf(body) {
  return body?.error?.message ?? (typeof body?.error === "string" ? body.error : null);
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new ServerError(`the server sent something that is not JSON: ${data.slice(0, 80)}`);
  }
}

/** The data of each event in a stream of bytes. Comments, which keep the connection alive, are left out. */
export async function* serverSentEvents(bytes) {
  const reader = bytes.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await read(reader);
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // ends the request if nobody reads on; it may have ended by itself
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("the answer broke off: the connection to the server was lost");
  }
}
