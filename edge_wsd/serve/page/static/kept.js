// What the browser keeps for this page: small things by name, and conversations in a database.

/** Texts by name, of this tab or of this browser. A browser that refuses to keep them keeps them until the page is left. */
class Names {
  constructor(area) {
    this.fallback = new Map();
    try {
      this.storage = window[area];
    } catch (error) {
      if (error.name !== "SecurityError") throw error; // whoever blocks cookies blocks this as well
      this.storage = null;
    }
  }

  get(name) {
    return this.storage ? this.storage.getItem(name) : (this.fallback.get(name) ?? null);
  }

  set(name, text) {
    if (this.storage) this.storage.setItem(name, text);
    else this.fallback.set(name, text);
  }

  remove(name) {
    this.storage?.removeItem(name);
    this.fallback.delete(name);
  }
}

export const ofTab = new Names("sessionStorage");
export const ofBrowser = new Names("localStorage");

const HEADS = "conversations"; // {id, title, changed, revision}
const TURNS = "turns"; // {conversation, number, question, answer}

/**
 * Conversations, each a head and its turns.
 *
 * A head counts its changes. Whoever adds to a conversation says which change was the last one seen: if there are later
 * ones, another tab has gone on with it, and what is added begins a conversation of its own. So no tab overwrites another's.
 */
export class Conversations {
  #database;

  /** Rejects where the browser keeps nothing. */
  static async open() {
    const kept = new Conversations();
    const opening = indexedDB.open("edge-wsd", 1);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore(HEADS, { keyPath: "id" });
      opening.result.createObjectStore(TURNS, { keyPath: ["conversation", "number"] });
    };
    kept.#database = await result(opening);
    kept.#database.onversionchange = () => kept.#database.close(); // for a page of a later version
    return kept;
  }

  /** The heads of all of them, the one that changed last at the top. */
  async heads() {
    const heads = await this.#within("readonly", (stores) => result(stores[HEADS].getAll()));
    return heads.sort((a, b) => b.changed - a.changed);
  }

  /** `{head, turns}`; null if it is not there (any more). */
  load(id) {
    return this.#within("readonly", async (stores) => {
      const head = await result(stores[HEADS].get(id));
      return head ? { head, turns: await result(stores[TURNS].getAll(numbers(id))) } : null;
    });
  }

  /**
   * Makes `turns` the turns of the conversation with this head, of which only those from `first` on have changed.
   * Returns the head as it is now: with another `id` if another tab has gone on with the conversation.
   */
  save(head, turns, first) {
    return this.#within("readwrite", async (stores) => {
      const known = await result(stores[HEADS].get(head.id));
      const isOthers = known && known.revision !== head.revision;
      const id = isOthers ? newId() : head.id;
      const saved = { ...head, id, revision: head.revision + 1, changed: Date.now() };
      const from = known && !isOthers ? first : 0;
      stores[TURNS].delete(numbers(id, from));
      turns.slice(from).forEach((turn, i) => stores[TURNS].put({ ...turn, conversation: id, number: from + i }));
      stores[HEADS].put(saved);
      return saved;
    });
  }

  forget(id) {
    return this.#within("readwrite", async (stores) => {
      stores[HEADS].delete(id);
      stores[TURNS].delete(numbers(id));
    });
  }

  forgetAll() {
    return this.#within("readwrite", async (stores) => {
      stores[HEADS].clear();
      stores[TURNS].clear();
    });
  }

  /** The result of `work`, once the disk has it: all of it or nothing. */
  async #within(mode, work) {
    const transaction = this.#database.transaction([HEADS, TURNS], mode);
    const done = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    const stores = Object.fromEntries([HEADS, TURNS].map((name) => [name, transaction.objectStore(name)]));
    const [found] = await Promise.all([work(stores), done]);
    return found;
  }
}

/** The head of a conversation that is not kept yet. */
export const newHead = () => ({ id: newId(), revision: 0 });

const newId = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("");

/** Where the turns of a conversation are, from number `first` on. */
const numbers = (id, first = 0) => IDBKeyRange.bound([id, first], [id, Infinity]);

function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
