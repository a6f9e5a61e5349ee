/** The content of the side panel: the form if it is open, and a card per cluster or what to do without any. */
import type { JSX } from 'react';
import { ReactWidget } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import { CommandIds } from '../commandIds';
import { cellspanIcon } from '../icons';
import type { IStartForm } from '../startForm';
import type { ICellspanModel, IStartRequest, Translations } from '../tokens';
import { ClusterCard } from './clusterCard';
import { CommandButton } from './commandButton';
import { type IKernelChoice, type IStartFormProps, StartForm } from './startForm';

export interface IListOptions {
  readonly model: ICellspanModel;
  readonly commands: CommandRegistry;
  readonly trans: Translations;
  /** Read whenever the form is drawn. */
  readonly kernels: () => readonly IKernelChoice[];
  readonly activeKernel: () => IStartFormProps['activeKernel'];
  readonly defaults: () => Partial<IStartForm>;
}

export class ClusterList extends ReactWidget {
  constructor(private readonly options: IListOptions) {
    super();
    this.addClass('cellspan-List');
    options.model.changed.connect(this.onChanged);
    options.commands.commandChanged.connect(this.onChanged);
  }

  /** Open the form for a new cluster; its first field is focused. */
  openForm(): void {
    this.isFormOpen = true;
    this.update();
    this.node.querySelector<HTMLInputElement>('.cellspan-Form input')?.focus();
  }

  override dispose(): void {
    this.options.model.changed.disconnect(this.onChanged);
    this.options.commands.commandChanged.disconnect(this.onChanged);
    super.dispose();
  }

  protected override render(): JSX.Element {
    const { model, commands, trans } = this.options;
    return (
      <>
        <LinkNotice model={model} trans={trans} />
        {this.isFormOpen && this.renderForm()}
        {model.clusters.length > 0 && (
          <ul className="cellspan-Cards" aria-label={trans.__('Clusters')}>
            {model.clusters.map(cluster => (
              <ClusterCard
                key={cluster.name}
                cluster={cluster}
                views={model.views}
                commands={commands}
                trans={trans}
              />
            ))}
          </ul>
        )}
        {model.clusters.length === 0 && !this.isFormOpen && (
          <Empty commands={commands} isKnown={isKnown(model)} trans={trans} />
        )}
      </>
    );
  }

  private renderForm(): JSX.Element {
    const { model, commands, trans } = this.options;
    return (
      <StartForm
        clusters={model.clusters}
        kernels={this.options.kernels()}
        activeKernel={this.options.activeKernel()}
        defaults={this.options.defaults()}
        trans={trans}
        onStart={async (request: IStartRequest) => {
          await commands.execute(CommandIds.start, { ...request });
        }}
        onClose={() => {
          this.isFormOpen = false;
          this.update();
        }}
      />
    );
  }

  private readonly onChanged = (): void => {
    this.update();
  };

  private isFormOpen = false;
}

function isKnown(model: ICellspanModel): boolean {
  return model.link === 'live' || model.link === 'polling';
}

function LinkNotice(props: { model: ICellspanModel; trans: Translations }): JSX.Element | null {
  if (props.model.link !== 'lost') {
    return null;
  }
  return (
    <div className="cellspan-Notice" role="alert">
      {props.trans.__('The Jupyter server does not answer: what is shown may be old.')}
    </div>
  );
}

function Empty(props: {
  commands: CommandRegistry;
  isKnown: boolean;
  trans: Translations;
}): JSX.Element {
  const { commands, trans } = props;
  if (!props.isKnown) {
    return <div className="cellspan-Empty cellspan-Muted">{trans.__('Looking for clusters…')}</div>;
  }
  return (
    <div className="cellspan-Empty">
      <cellspanIcon.react tag="span" className="cellspan-Empty-icon" />
      <h3>{trans.__('No clusters')}</h3>
      <p>{trans.__('A cluster runs the work of your notebooks on many cores at once.')}</p>
      <CommandButton
        commands={commands}
        command={CommandIds.newCluster}
        args={{}}
        label={trans.__('New cluster')}
        isMain
      />
      <p className="cellspan-Muted">
        {trans.__('Or in a notebook:')}
        <code>%load_ext cellspan</code>
        <code>%cluster start</code>
      </p>
    </div>
  );
}
