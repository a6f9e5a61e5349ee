/** One cluster in the panel: what it is, how it does, what can be done. A function of the model's entry. */
import type { JSX } from 'react';
import type { CommandRegistry } from '@lumino/commands';
import { CommandIds } from '../commandIds';
import type { ICluster, IViewInfo, Translations } from '../tokens';
import { CommandButton } from './commandButton';
import { MemoryMeter, TaskMeter } from './meters';
import { Stepper } from './stepper';
import { lifetimeText, stateText } from '../words';

export interface ICardProps {
  readonly cluster: ICluster;
  readonly views: readonly IViewInfo[];
  readonly commands: CommandRegistry;
  readonly trans: Translations;
}

export function ClusterCard(props: ICardProps): JSX.Element {
  const { cluster, commands, trans } = props;
  const args = { cluster: cluster.name };
  const isRunning = cluster.state === 'running';
  const headingId = `cellspan-card-${cluster.name}`;
  return (
    <li
      className="cellspan-Card"
      data-cluster={cluster.name}
      data-state={cluster.state}
      aria-labelledby={headingId}
    >
      <header className="cellspan-Card-header">
        <span className="cellspan-State" data-state={cluster.state} aria-hidden="true" />
        <h3 id={headingId} title={cluster.interpreter ?? cluster.name}>
          {cluster.name}
        </h3>
        <CommandButton
          commands={commands}
          command={cluster.state === 'failed' ? CommandIds.dismiss : CommandIds.stop}
          args={args}
          isIconOnly
          className="cellspan-mod-quiet"
        />
      </header>
      <p className="cellspan-Card-facts" role="status">
        <span className="cellspan-Card-state">{stateText(cluster, trans)}</span>
        {cluster.state !== 'failed' && <span>{lifetimeText(cluster, trans)}</span>}
      </p>
      {cluster.reason && <pre className="cellspan-Card-reason">{cluster.reason}</pre>}
      {isRunning && <Facts {...props} />}
      {isRunning && <Actions {...props} />}
    </li>
  );
}

function Facts({ cluster, commands, trans }: ICardProps): JSX.Element {
  const perWorker = cluster.workers > 0 ? Math.round(cluster.slots / cluster.workers) : 0;
  return (
    <dl className="cellspan-Card-rows">
      <dt>{trans.__('Workers')}</dt>
      <dd className="cellspan-Card-workers">
        <Stepper
          wanted={cluster.wanted}
          trans={trans}
          onScale={workers =>
            commands.execute(CommandIds.scale, { cluster: cluster.name, workers })
          }
        />
        <span className="cellspan-Muted">
          {cluster.workers === cluster.wanted
            ? trans._n('× %1 core', '× %1 cores', perWorker)
            : trans.__('%1 there', cluster.workers)}
        </span>
      </dd>
      <dt>{trans.__('Memory')}</dt>
      <dd>
        <MemoryMeter cluster={cluster} trans={trans} />
      </dd>
      <dt>{trans.__('Tasks')}</dt>
      <TaskMeter tasks={cluster.tasks} trans={trans} />
    </dl>
  );
}

function Actions({ cluster, views, commands, trans }: ICardProps): JSX.Element {
  return (
    <div
      className="cellspan-Card-actions"
      role="group"
      aria-label={trans.__('What to do with %1', cluster.name)}
    >
      <CommandButton
        commands={commands}
        command={CommandIds.attach}
        args={{ cluster: cluster.name }}
        label={trans.__('Attach')}
        isMain
      />
      <span className="cellspan-Card-views">
        {views.map(view => (
          <CommandButton
            key={view.name}
            commands={commands}
            command={CommandIds.openView}
            args={{ cluster: cluster.name, view: view.name }}
            label={view.title}
          />
        ))}
        <CommandButton
          commands={commands}
          command={CommandIds.openLogs}
          args={{ cluster: cluster.name }}
          label={trans.__('Logs')}
        />
      </span>
    </div>
  );
}
