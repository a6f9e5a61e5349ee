/**
 * What every place with a live picture of a cluster shares: it is drawn when it is attached, fed while
 * somebody sees it, and has a note above it on how the cluster does. Where the picture comes from, when
 * there is something to be fed by, and what the note says, is for the places themselves.
 */
import type { Message } from '@lumino/messaging';
import type { IDisposable } from '@lumino/disposable';
import { Widget } from '@lumino/widgets';
import { messageOf } from '../clusterApi';
import type { ICellspanModel, Translations, ViewColumns } from '../tokens';
import { Figure } from './figure';

/** What is shown. */
export interface ISubject {
  readonly cluster: string;
  readonly view: string;
  /** Bokeh's json_item. */
  readonly getItem: () => unknown;
}

export interface INote {
  /** Empty for none. */
  readonly text: string;
  /** Whether the picture is an old one. */
  readonly isStale: boolean;
}

export abstract class FigureWidget extends Widget {
  constructor(
    protected readonly model: ICellspanModel,
    protected readonly trans: Translations
  ) {
    super();
    this.addClass('cellspan-View');
    this.note.className = 'cellspan-View-note';
    this.note.setAttribute('role', 'status');
    this.note.hidden = true;
    this.canvas.className = 'cellspan-View-figure';
    this.node.append(this.note, this.canvas);
    model.changed.connect(this.onChanged);
    document.addEventListener('visibilitychange', this.onChanged);
  }

  /** Take the colours of a new theme. */
  repaint(): void {
    this.figure?.repaint();
  }

  override dispose(): void {
    document.removeEventListener('visibilitychange', this.onChanged);
    this.model.changed.disconnect(this.onChanged);
    this.clear();
    super.dispose();
  }

  /** How the cluster does, in words. */
  protected abstract describe(): INote;

  /** Whether there is, or may come, something to be fed by. */
  protected abstract canWatch(): boolean;

  protected get subject(): ISubject | null {
    return this._subject;
  }

  /** When columns last came, in unix milliseconds; null if they never did. */
  protected get updated(): number | null {
    return this._updated;
  }

  protected async setSubject(subject: ISubject): Promise<void> {
    this.clear();
    this._subject = subject;
    this.columns = this._updated = null;
    this.node.dataset.cluster = subject.cluster;
    this.node.dataset.view = subject.view;
    this.onChanged();
    await this.draw();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    void this.draw();
    this.onChanged();
  }

  protected override onBeforeDetach(message: Message): void {
    this.clear();
    super.onBeforeDetach(message);
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.onChanged();
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.onChanged();
  }

  private async draw(): Promise<void> {
    const subject = this._subject;
    if (!subject || !this.isAttached || this.drawing) {
      return;
    }
    const drawing = (this.drawing = {});
    try {
      const item = await subject.getItem();
      if (this.drawing !== drawing) {
        return; // detached meanwhile, or given another picture
      }
      this.canvas.replaceChildren();
      const figure = await Figure.draw(item, this.canvas);
      if (this.drawing !== drawing) {
        figure.dispose();
        return;
      }
      this.figure = figure;
      if (this.columns) {
        figure.show(this.columns);
      }
    } catch (reason) {
      if (this.drawing === drawing) {
        const text = this.trans.__('The view cannot be shown: %1', messageOf(reason));
        this.canvas.textContent = text;
      }
    }
  }

  private readonly onChanged = (): void => {
    if (!this._subject) {
      return;
    }
    if (this.isVisible && !document.hidden && this.canWatch()) {
      this.watch(this._subject);
    } else {
      this.unwatch();
    }
    const { text, isStale } = this.describe();
    if (this.note.textContent !== text) {
      this.note.textContent = text;
    }
    this.note.hidden = text === '';
    this.canvas.classList.toggle('cellspan-mod-stale', isStale);
  };

  private watch({ cluster, view }: ISubject): void {
    this.subscription ??= this.model.watch(cluster, view, columns => {
      this.columns = columns;
      this._updated = Date.now();
      this.figure?.show(columns);
      this.node.dataset.updates = String(Number(this.node.dataset.updates ?? 0) + 1);
    });
  }

  private unwatch(): void {
    this.subscription?.dispose();
    this.subscription = null;
  }

  private clear(): void {
    this.unwatch();
    this.drawing = null;
    this.figure?.dispose();
    this.figure = null;
    this.canvas.replaceChildren();
  }

  private _subject: ISubject | null = null;
  private _updated: number | null = null;
  /** Stands for the drawing that is there or under way. */
  private drawing: object | null = null;
  private figure: Figure | null = null;
  private columns: ViewColumns | null = null;
  private subscription: IDisposable | null = null;
  private readonly note = document.createElement('div');
  private readonly canvas = document.createElement('div');
}
