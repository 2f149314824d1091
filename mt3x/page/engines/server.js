// The engine behind `mt3x serve`: jobs over HTTP, events by server-sent events.

const TOKEN_KEY = "mt3x-token";
const MOST_BUFFERED = 4e6; // bytes

// The token comes with the link that `mt3x serve` prints; reloading keeps it.
function readToken() {
  const address = new URL(location.href);
  const token = address.searchParams.get("token");
  if (token === null) return sessionStorage.getItem(TOKEN_KEY);
  sessionStorage.setItem(TOKEN_KEY, token);
  return token;
}

export async function createEngine() {
  const token = readToken();

  function address(path, query = {}) {
    const url = new URL(`../api/${path}`, import.meta.url);
    for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
    return url;
  }

  async function call(method, url, options = {}) {
    const headers = { ...options.headers };
    if (token) headers["X-MT3X-Token"] = token;
    let response;
    try {
      response = await fetch(url, { method, ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("the server does not answer: is mt3x serve still running?");
    }
    if (!response.ok) throw new Error(await refusal(response));
    return response;
  }

  const sendJson = (method, url, value, signal) =>
    call(method, url, {
      body: JSON.stringify(value),
      headers: { "Content-Type": "application/json" },
      signal,
    });

  const known = { ...(await (await call("GET", address("info"))).json()), beats: true };

  async function transcribe({ wav, name, options = {} }, onEvent) {
    const created = await call("POST", address("jobs", { name, ...options }), {
      body: wav,
      headers: { "Content-Type": wav.type || "application/octet-stream" },
    });
    const { id } = await created.json();
    return followed(id, onEvent);
  }

  // Composes what is wished for: {valence, arousal, ..., prompt}; `seed` of the job is
  // that of the piece.
  async function compose({ name, ...wish }, onEvent) {
    const created = await sendJson("POST", address("compose", { name }), wish);
    const { id, seed } = await created.json();
    return { ...followed(id, onEvent), seed };
  }

  // Hears what happens to a job, and returns what can be asked of it.
  function followed(id, onEvent) {
    const events = new EventSource(
      address(`jobs/${id}/events`, token ? { token } : {}),
    );
    for (const type of ["queued", "progress", "notes"])
      events.addEventListener(type, ({ data }) =>
        onEvent({ type, ...JSON.parse(data) }),
      );
    events.addEventListener("done", ({ data }) => {
      events.close();
      onEvent({ type: "done", ...JSON.parse(data) });
    });
    // The browser calls a broken connection "error", too, without data, and tries again
    // by itself unless it has given up.
    events.addEventListener("error", ({ data }) => {
      if (data === undefined && events.readyState !== EventSource.CLOSED) return;
      events.close();
      const { message } = data ? JSON.parse(data) : { message: "the server is gone" };
      onEvent({ type: "error", message });
    });

    let stored = null; // the notes that the server has
    async function store(notes) {
      if (notes !== stored) await sendJson("PUT", address(`jobs/${id}/notes`), notes);
      stored = notes;
    }
    return {
      async decode(thresholds, signal) {
        const url = address(`jobs/${id}/decode`);
        stored = null;
        return (await sendJson("POST", url, thresholds, signal)).json();
      },
      async result(format, notes, options) {
        await store(notes);
        const url = address(`jobs/${id}/result.${format}`, options);
        return (await call("GET", url)).blob();
      },
      async score(notes, options) {
        await store(notes);
        const found = await call("GET", address(`jobs/${id}/score`, options));
        const score = await found.json();
        const folder = `jobs/${id}/score/${score.name}`;
        const picture = async (page) =>
          (await call("GET", address(`${folder}/${page}.svg`))).text();
        return { ...score, picture };
      },
      async close() {
        events.close();
        await call("DELETE", address(`jobs/${id}`));
      },
    };
  }

  // Hears a microphone: returns {push(samples), close()} and calls `onEvent` with
  // {type: "notes", notes, sounding, seconds}, or {type: "error", message}.
  function listen(rateHz, onEvent) {
    const url = address("live", { rate: rateHz, ...(token ? { token } : {}) });
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    const early = []; // before the server answers
    const send = (samples) =>
      socket.send(Int16Array.from(samples, (x) => 32767 * Math.max(-1, Math.min(1, x))));
    socket.addEventListener("open", () => early.splice(0).forEach(send));
    socket.addEventListener("message", ({ data }) => onEvent(JSON.parse(data)));
    socket.addEventListener("close", () =>
      onEvent({ type: "error", message: "the server hears no more" }),
    );
    return {
      push(samples) {
        if (socket.readyState === WebSocket.CONNECTING) early.push(samples);
        // What the server is too slow for would fill the memory.
        else if (socket.bufferedAmount > MOST_BUFFERED) socket.close();
        else if (socket.readyState === WebSocket.OPEN) send(samples);
      },
      close: () => socket.close(),
    };
  }

  return {
    info: () => known,
    transcribe,
    compose,
    listen: known.limits.microphones > 0 ? listen : null,
  };
}

// The one line with which a server refuses.
async function refusal(response) {
  const text = (await response.text()).trim();
  try {
    return JSON.parse(text).error;
  } catch {
    return text || `the server answers ${response.status}`;
  }
}
