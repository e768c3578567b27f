// A chat with the documentation's code for useChat. ?id=: the conversation. "chat" and "save" are there for the tests.
import { useChat } from "@ai-sdk/react";
import { createRoot } from "react-dom/client";
import { Chat, open } from "documented";

const query = new URLSearchParams(location.search);
const id = query.get("id")!;

const said = (part: any) => {
  if (part.type === "text" || part.type === "reasoning") return part.text;
  if (part.type === "file") return <img src={part.url} alt="picture" />;
  if (!part.toolCallId) return null;
  return `${part.type.slice("tool-".length)} ${part.state} ${JSON.stringify(part.input)} ${JSON.stringify(part.output)}`;
};

function Page({ stored, save }: Awaited<ReturnType<typeof open>>) {
  const chat = useChat({ id, messages: stored, onFinish: save });
  Object.assign(globalThis, { chat, save });
  return (
    <ol aria-label={chat.status}>
      {chat.messages.map(({ id, role, parts }) => (
        <li key={id}>
          {role}
          {parts.map((part, place) => said(part) && <span key={place}>|{said(part)}</span>)}
        </li>
      ))}
    </ol>
  );
}

const opened = await open(id);
const shown = query.has("documented") ? <Chat id={id} {...opened} /> : <Page {...opened} />;
createRoot(document.getElementById("page")!).render(shown);
