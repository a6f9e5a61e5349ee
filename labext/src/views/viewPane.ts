/**
 * One view of one cluster, in the main area. It is bound to the cluster's name: when the cluster is gone
 * it says so and keeps its last picture, and it goes on when one of that name is back. Nothing is sent
 * to a pane that nobody sees.
 */
import type { Message } from '@lumino/messaging';
import type { IDisposable } from '@lumino/disposable';
import { Widget } from '@lumino/widgets';
import { messageOf } from '../clusterApi';
import type { ICellspanModel, Translations, ViewColumns } from '../tokens';
import { Figure } from './figure';

export interface IViewPaneOptions {
  readonly model: ICellspanModel;
  readonly cluster: string;
  readonly view: string;
  readonly trans: Translations;
}

export class ViewPane extends Widget {
  constructor(private readonly options: IViewPaneOptions) {
    super();
    this.addClass('cellspan-View');
    this.node.dataset.cluster = options.cluster;
    this.node.dataset.view = options.view;
    this.note.className = 'cellspan-View-note';
    this.note.setAttribute('role', 'status');
    this.canvas.className = 'cellspan-View-figure';
    this.node.append(this.note, this.canvas);
    options.model.changed.connect(this.onModelChanged);
    document.addEventListener('visibilitychange', this.onPageVisibility);
    this.onModelChanged();
  }

  get cluster(): string {
    return this.options.cluster;
  }

  get view(): string {
    return this.options.view;
  }

  /** Take the colours of a new theme. */
  repaint(): void {
    this.figure?.repaint();
  }

  override dispose(): void {
    document.removeEventListener('visibilitychange', this.onPageVisibility);
    this.options.model.changed.disconnect(this.onModelChanged);
    this.unwatch();
    super.dispose();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    void this.draw();
    this.watch();
  }

  protected override onBeforeDetach(message: Message): void {
    this.unwatch();
    this.figure?.dispose();
    this.figure = null;
    super.onBeforeDetach(message);
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.watch();
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.unwatch();
  }

  private async draw(): Promise<void> {
    const { model, view, trans } = this.options;
    try {
      const item = await model.viewItem(view);
      if (!this.isAttached || this.figure) {
        return;
      }
      this.canvas.replaceChildren();
      this.figure = await Figure.draw(item, this.canvas);
      if (this.columns) {
        this.figure.show(this.columns);
      }
    } catch (reason) {
      this.canvas.textContent = trans.__('The view cannot be shown: %1', messageOf(reason));
    }
  }

  private watch(): void {
    if (this.subscription || !this.isVisible || document.hidden) {
      return;
    }
    const { model, cluster, view } = this.options;
    this.subscription = model.watch(cluster, view, columns => {
      this.columns = columns;
      this.figure?.show(columns);
      this.node.dataset.updates = String(Number(this.node.dataset.updates ?? 0) + 1);
    });
  }

  private unwatch(): void {
    this.subscription?.dispose();
    this.subscription = null;
  }

  private readonly onPageVisibility = (): void => {
    if (document.hidden) {
      this.unwatch();
    } else if (this.isAttached) {
      this.watch();
    }
  };

  private readonly onModelChanged = (): void => {
    const { model, cluster, trans } = this.options;
    const found = model.find(cluster);
    const isKnown = model.link === 'live' || model.link === 'polling';
    let text = '';
    if (found?.state === 'starting') {
      text = trans.__('Cluster “%1” is starting…', cluster);
    } else if (found?.state === 'failed') {
      text = trans.__('Cluster “%1” has failed.', cluster);
    } else if (!found && isKnown) {
      text = trans.__(
        'Cluster “%1” is gone. This view goes on when a cluster of that name is back.',
        cluster
      );
    }
    if (this.note.textContent !== text) {
      this.note.textContent = text;
    }
    this.note.hidden = text === '';
    this.canvas.classList.toggle('cellspan-mod-stale', text !== '');
  };

  private figure: Figure | null = null;
  private columns: ViewColumns | null = null;
  private subscription: IDisposable | null = null;
  private readonly note = document.createElement('div');
  private readonly canvas = document.createElement('div');
}
