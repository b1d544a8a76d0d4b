// The conversation: questions and answers, one under the other.

import { Answer } from "./answer.js";
import { Conversation } from "./conversation.js";
import { find } from "./dom.js";
import { Earlier } from "./earlier.js";
import { ofTab } from "./kept.js";
import { PromptBox, showExamples } from "./prompt_box.js";
import { Turn } from "./turn.js";

const OPEN = "edge-wsd-conversation"; // in the tab's storage: which one it shows

/** Questions can be edited and the last answer written again; what came after an edited question is left out. */
export class Chat {
  /** `store` keeps conversations; null where the browser keeps nothing. */
  constructor(root, settings, store) {
    this.settings = settings;
    this.store = store;
    this.list = find("#turns", root);
    this.welcome = find(".welcome", root);
    this.examples = find(".examples", root);
    this.earlier = new Earlier(find(".earlier", root), {
      ask: (work) => this.#stored(work),
      onOpen: (head) => this.#open(head.id).then(() => this.box.field.focus()),
      onForget: (head) => this.#forget(head, `“${head.title}”`),
      onForgetAll: () => this.#forgetAll(),
    });
    this.inConversation = find(".of-conversation", root);
    this.problem = find("form .problem", root);
    this.box = new PromptBox(find("form", root), (question) => this.ask(question), () => this.stop());
    this.follows = true;
    this.#show(this.#conversation());
    find(".new", root).addEventListener("click", () => this.begin());
    find(".forget", root).addEventListener("click", () => this.#forget(this.conversation.head, "this conversation"));
    addEventListener("focus", () => this.#showEarlier()); // another tab may have changed them
    addEventListener("scroll", () => {
      const page = document.documentElement;
      this.follows = page.scrollHeight - page.clientHeight - page.scrollTop < 40;
    }, { passive: true });
  }

  get turns() {
    return this.conversation.turns;
  }

  showPair(pair) {
    const note = find(".note", this.welcome);
    note.textContent = pair.remarks.map(asSentence).join(" ");
    note.hidden = pair.remarks.length === 0;
    showExamples(this.examples, pair.examples, (question) => this.box.send(question));
  }

  /** Asks, as the next turn. */
  async ask(question) {
    if (!this.settings.check()) return;
    this.box.clear();
    await this.#answer(question, this.turns.length);
  }

  stop() {
    this.turns.at(-1)?.view.stop();
  }

  /** A new conversation. The one before stays kept. */
  begin() {
    this.stop();
    ofTab.remove(OPEN);
    this.#show(this.#conversation());
    this.box.field.focus();
  }

  /** Shows again what this tab showed before it was loaded anew. */
  async restore() {
    const id = ofTab.get(OPEN);
    if (id) await this.#open(id);
  }

  #conversation(kept = {}) {
    return new Conversation(this.store, {
      ...kept,
      onKept: (conversation) => {
        if (this.conversation === conversation) ofTab.set(OPEN, conversation.head.id);
        else this.#showEarlier(); // it is one of them now
      },
      onProblem: (error) => this.#complain(`The browser does not keep this conversation: ${error.message}`),
    });
  }

  async #open(id) {
    const kept = await this.#stored((store) => store.load(id));
    if (!kept || this.turns.length) return this.#showEarlier(); // forgotten in another tab, or a question came first
    const turns = kept.turns.map(({ question, answer }) => this.#turn(question, Answer.of(answer)));
    ofTab.set(OPEN, id);
    this.#show(this.#conversation({ head: kept.head, turns }));
    this.#toTheEnd();
  }

  #turn(question, answer) {
    const onAgain = (turn, text) => this.#again(turn, text);
    return new Turn(question, answer, { onAgain, onDrawn: () => this.#follow() });
  }

  /** Answers as turn `number`, in the place of those that are there from it on. Returns the answer. */
  async #answer(question, number) {
    const { conversation } = this;
    const before = conversation.turns;
    const messages = [...messagesOf(before.slice(0, number)), { role: "user", content: question }];
    const [body, options] = this.settings.request(messages);
    const turn = this.#turn(question, new Answer(options));
    conversation.turns = [...before.slice(0, number), turn];
    this.#complain("");
    this.box.setBusy(true);
    this.#show(conversation);
    this.#toTheEnd();
    const isNew = number === before.length;
    if (isNew) conversation.keep(number);
    const { answer } = turn;
    try {
      await turn.view.run(body, () => answer.tokens.length && conversation.keepSoon(number));
    } finally {
      this.box.setBusy(false);
      if (!isNew && !answer.text && answer.isBroken) conversation.turns = before; // better the old answers than none
      conversation.keep(number);
      if (this.conversation === conversation) this.#show(conversation);
    }
    return answer;
  }

  /** Answers `turn` anew, and forgets what came after it. */
  async #again(turn, question) {
    const { conversation } = this;
    if (this.box.isBusy || !this.settings.check()) return;
    const answered = this.#answer(question, this.turns.indexOf(turn));
    this.box.stopping.focus();
    const answer = await answered;
    if (this.conversation !== conversation || !this.turns.includes(turn)) return;
    this.follows = false; // the old turn is back
    this.#complain(answer.problem ?? "");
    if (question !== turn.question) turn.edit(question);
  }

  #show(conversation) {
    this.conversation = conversation;
    const { turns } = conversation;
    this.#place(turns.map((turn) => turn.element));
    for (const turn of turns) turn.show({ isBusy: this.box.isBusy, isLast: turn === turns.at(-1) });
    this.welcome.hidden = turns.length > 0;
    this.inConversation.hidden = turns.length === 0;
    this.#showEarlier();
  }

  /** What stays where it is keeps the focus and what is selected in it. */
  #place(elements) {
    const shown = [...this.list.children];
    const changed = elements.findIndex((element, i) => element !== shown[i]);
    const n = changed < 0 ? elements.length : changed;
    for (const gone of shown.slice(n)) gone.remove();
    this.list.append(...elements.slice(n));
  }

  #showEarlier() {
    return this.earlier.show(!this.welcome.hidden);
  }

  /** Removes a conversation from the browser, and from the screen if it is there. */
  async #forget(head, name) {
    if (!confirm(`Forget ${name}? It cannot be brought back.`)) return;
    const { conversation } = this;
    if (head?.id === conversation.head?.id) {
      this.begin();
      await this.#stored(() => conversation.forget());
    } else await this.#stored((store) => store.forget(head.id));
    await this.#showEarlier();
    if (!document.activeElement.isConnected || document.activeElement === document.body) this.box.field.focus();
  }

  async #forgetAll() {
    if (!confirm("Forget all conversations that this browser keeps for this address? They cannot be brought back.")) return;
    await this.#stored((store) => store.forgetAll());
    this.#showEarlier();
  }

  /** The result of `work` with the store; nothing if there is none, and a word of it if that fails. */
  async #stored(work) {
    try {
      return this.store && (await work(this.store));
    } catch (error) {
      this.#complain(`The browser cannot look after conversations: ${error.message}`);
    }
  }

  #complain(text) {
    this.problem.textContent = text;
    this.problem.hidden = !text;
  }

  #toTheEnd() {
    this.follows = true;
    this.#follow();
  }

  /** Keeps the end in sight, unless the reader has scrolled elsewhere. */
  #follow() {
    if (this.follows) scrollTo(0, document.documentElement.scrollHeight);
  }
}

/** What the models are told of turns: those that have an answer. */
function messagesOf(turns) {
  return turns.filter(({ answer }) => answer.text).flatMap(({ question, answer }) => [
    { role: "user", content: question },
    { role: "assistant", content: answer.text },
  ]);
}

const asSentence = (text) => text[0].toUpperCase() + text.slice(1).replace(/[^.]$/, "$&.");
