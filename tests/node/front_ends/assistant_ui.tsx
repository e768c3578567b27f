// A chat with the documentation's code for assistant-ui. ?id=: the thread. ?local: with LocalRuntime, whose model is
// a script here; without it with useChat's. "runtime" and "saveAgain" are there for the tests.
import {
  AssistantRuntimeProvider,
  BranchPickerPrimitive,
  MessagePrimitive,
  ThreadPrimitive,
  useAuiState,
  useLocalRuntime,
  useRemoteThreadListRuntime,
} from "@assistant-ui/react";
import { useChatRuntime } from "@assistant-ui/react-ai-sdk";
import { createRoot } from "react-dom/client";
import { threads, useHistory } from "documented";

const query = new URLSearchParams(location.search);

const model = {
  async run({ messages }: any) {
    const asked = messages.at(-1).content.map(({ text }: any) => text).join("");
    const answers = (sessionStorage.answers = Number(sessionStorage.answers ?? 0) + 1);
    const args = { city: "Oslo" };
    const called = { toolCallId: `call-${answers}`, toolName: "weather", args, argsText: JSON.stringify(args) };
    return {
      content: [
        { type: "reasoning", text: "I look outside." },
        { type: "tool-call", ...called, result: "RAIN-42" },
        { type: "text", text: `Answer ${answers} to: ${asked}` },
      ],
    } as any;
  },
};

const ofAISDK: any = {
  format: "ai-sdk/v6",
  encode: ({ message: { id, ...content } }: any) => content,
  getId: ({ id }: any) => id,
};

function useOwnRuntime() {
  const history = useHistory();
  const saveAgain = async () => {
    for (const item of (globalThis as any).runtime.thread.export().messages) await history.update!(item);
  };
  Object.assign(globalThis, { saveAgain });
  return useLocalRuntime(model, { adapters: { history } });
}

function useRuntimeOfChat() {
  const history = useHistory();
  const saveAgain = async () => {
    const { messages } = (globalThis as any).runtime.thread.exportExternalState();
    for (const item of messages) await history.withFormat!(ofAISDK).update!(item, item.message.id);
  };
  Object.assign(globalThis, { saveAgain });
  return useChatRuntime({ adapters: { history } });
}

const Tool = ({ toolName, args, result, isError }: any) =>
  `|${toolName} ${isError ? "failed" : "answered"} ${JSON.stringify(args)} ${JSON.stringify(result)}`;
const components: any = {
  Text: ({ text }: any) => `|${text}`,
  Reasoning: ({ text }: any) => `|${text}`,
  Image: ({ image }: any) => <>|<img src={image} alt="picture" /></>,
  File: ({ filename, mimeType }: any) => `|${filename ?? mimeType}`,
  tools: { Fallback: Tool },
};

function Message() {
  const role = useAuiState((s: any) => s.message.role);
  const attachments = useAuiState((s: any) => s.message.attachments);
  return (
    <MessagePrimitive.Root asChild>
      <li>
        {role}
        <MessagePrimitive.Parts components={components} />
        {attachments?.flatMap(({ content }: any) => content).map((part: any, place: number) =>
          part.type === "image" ? <components.Image key={place} {...part} /> : null)}
        <BranchPickerPrimitive.Root hideWhenSingleBranch>
          |<BranchPickerPrimitive.Previous>before</BranchPickerPrimitive.Previous>
          <BranchPickerPrimitive.Number />/<BranchPickerPrimitive.Count />
        </BranchPickerPrimitive.Root>
      </li>
    </MessagePrimitive.Root>
  );
}

function Page() {
  const runtime = useRemoteThreadListRuntime({
    adapter: threads,
    threadId: query.get("id") ?? undefined,
    runtimeHook: query.has("local") ? useOwnRuntime : useRuntimeOfChat,
  });
  Object.assign(globalThis, { runtime });
  return (
    <AssistantRuntimeProvider runtime={runtime}>
      <ThreadPrimitive.Root>
        <ThreadPrimitive.Empty>empty</ThreadPrimitive.Empty>
        <ol><ThreadPrimitive.Messages components={{ Message }} /></ol>
      </ThreadPrimitive.Root>
    </AssistantRuntimeProvider>
  );
}

createRoot(document.getElementById("page")!).render(<Page />);
