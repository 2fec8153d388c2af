// The page: a stock `useChat` with `resume`.

import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { createRoot } from "react-dom/client";

const { id, messages: stored, direct } = JSON.parse(document.querySelector("#chat").textContent);

const transport = new DefaultChatTransport({
  prepareSendMessagesRequest: ({ id, messages }) => ({ body: { id, message: messages.at(-1) } }),
  // Without it, `useChat` resumes with GET /api/chat/<id>/stream.
  ...(direct && { prepareReconnectToStreamRequest: () => ({ api: streamOf(latest) }) }),
});

let latest = stored;
/** Returns the URL at which Fanfare serves the answer to the last message of the user: its own bytes, or 204. */
const streamOf = (messages) => {
  const turn = messages.findLastIndex(({ role }) => role === "user") + 1;
  return `${direct}/v1/stream/chat:${id}.${turn}?offset=-1&live=raw&ended=204&missing=204`;
};

const textOf = ({ parts }) => parts.map((part) => (part.type === "text" ? part.text : "")).join("");

function Chat() {
  const { messages, status, error, sendMessage } = useChat({ id, messages: stored, resume: true, transport });
  latest = messages;
  const submit = (event) => {
    event.preventDefault();
    sendMessage({ text: new FormData(event.target).get("text") });
    event.target.reset();
  };
  // The server ends the answer, and all tabs see its end. `stop` of useChat would only close the connection of this tab.
  const stop = () => fetch(`/api/chat/${id}/stop`, { method: "POST" });
  return (
    <>
      {messages.map((message) => (
        <p key={message.id} className={message.role}>
          {textOf(message)}
        </p>
      ))}
      <p>
        <output id="status">{status}</output> <output id="error">{error?.message}</output>
      </p>
      <form onSubmit={submit}>
        <input name="text" placeholder="Say something" />
        <button type="submit">Send</button>
        <button type="button" id="stop" onClick={stop} disabled={status === "ready"}>
          Stop
        </button>
      </form>
    </>
  );
}

createRoot(document.querySelector("main")).render(<Chat />);
